import pytest
pytestmark = pytest.mark.asyncio(loop_scope="session")
async def test_x(lab):
    a = await lab.client().modern("tools/list")
    print(a)
    names=[t["name"] for t in a.result()["tools"]]
    print(names, a.result()["_meta"])
    for k in ("um","us","ul","ux","ud"):
        print(k, await lab.client().call(f"{k}__echo", {"text":"ü"}))
    assert 0
