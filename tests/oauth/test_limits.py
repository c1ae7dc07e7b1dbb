"""Wrong tries beside the endpoints are counted over all processes, where these share a Redis."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx2

from metamcp_asgi import Gateway
from metamcp_asgi.settings import Settings
from tests.databases import SECRET
from tests.gateway.running import served
from tests.oauth.home import home
from tests.redis import Redis


async def test_who_was_wrong_too_often_at_one_process_is_so_at_all(
    tmp_path: Path, shared_redis: Redis, prefix: str
) -> None:
    bus = {"redis_url": shared_redis.url, "redis_prefix": prefix}
    async with home(f"sqlite:///{tmp_path}/metamcp.db", **bus) as first:
        other = Gateway.from_store(first.url, Settings(secret_keys=(SECRET,), **bus))
        async with served(other, "on") as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as second:
            wrong = {"client_id": "nobody", "grant_type": "client_credentials"}
            key = {"Authorization": "Bearer sk_mt_" + "x" * 64}

            async def all_of_it(number: int) -> tuple[int, int, int]:
                http = second if number % 2 else first.http
                return (
                    (await http.post("/oauth/token", data=wrong)).status_code,
                    (await http.get("/api/v1/servers", headers=key)).status_code,
                    (await http.post("/oauth/register", json={})).status_code,
                )

            codes = [Counter(each) for each in zip(*await asyncio.gather(*map(all_of_it, range(32))), strict=True)]
            # Counted by each process, all would be looked at: 20 at once, and one more every three seconds.
            for count, refused in zip(codes, (401, 401, 400), strict=True):
                assert set(count) == {refused, 429}
                assert 20 <= count[refused] < 32
