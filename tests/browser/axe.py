"""axe: what of a page somebody with a screen reader, with a keyboard only or with weak eyes could not use.

    async with visitor(browser) as page:
        await page.goto(home.origin + "/login")
        await accessible(page)

The page is looked at as it stands, so it may be called in each state that matters: a form with errors, an open dialog.
"""

from functools import cache
from typing import Any

from playwright.async_api import Page

from tests.places import NODE_MODULES

GRAVE = ("serious", "critical")
"""What axe calls the faults with which somebody cannot use a part of the page, or hardly."""

_RUN = """async (rules) => {
  const options = {resultTypes: ["violations"], ...(rules && {runOnly: {type: "rule", values: rules}})};
  const {violations} = await axe.run(document, options);
  return violations.map(({id, impact, help, nodes}) => ({id, impact, help, nodes: nodes.map(
    ({html, failureSummary}) => `${html}\\n    ${failureSummary.replaceAll("\\n", "\\n    ")}`)}));
}"""


@cache
def _axe() -> str:
    path = NODE_MODULES / "axe-core" / "axe.min.js"
    assert path.exists(), "axe-core is missing: run `make test-environment`"
    return path.read_text(encoding="utf-8")


async def accessible(page: Page) -> None:
    """Fails with what axe finds serious or critical on a page, in its light and in its dark colours.

    A theme that the visitor chose for the page wins over the browser's, so leave it at "System" to see both.
    """
    if not await page.evaluate("'axe' in window"):
        # What a debugger runs is not bound by the content security policy, unlike a script that is added.
        await page.evaluate(_axe())
    dark = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    found: list[Any] = []
    await page.emulate_media(color_scheme="light")
    found += await page.evaluate(_RUN, None)
    await page.emulate_media(color_scheme="dark")
    found += await page.evaluate(_RUN, ["color-contrast"])
    await page.emulate_media(color_scheme="dark" if dark else "light")
    faults = [
        f"{fault['impact']}: {fault['help']} ({fault['id']})\n  " + "\n  ".join(fault["nodes"])
        for fault in found
        if fault["impact"] in GRAVE
    ]
    assert not faults, f"{page.url} is not usable for everybody:\n" + "\n".join(faults)
