"""The base of all pages that are made on the server: how they look, in which language, and what protects them.

An application that shows pages is a plain ASGI application inside ``site``, and answers with ``render``::

    from starlette.requests import Request
    from starlette.routing import Route, Router

    from metamcp_asgi.pages.forms import form_of
    from metamcp_asgi.pages.render import render, to
    from metamcp_asgi.pages.site import site

    async def greet(request):
        if request.method == "POST":
            return to(request.scope, "/hello", name=form_of(request.scope)["name"])
        return render(request.scope, "hello/page.html", name=request.query_params.get("name", ""))

    app = site(Router([Route("/hello", greet, methods=["GET", "POST"])]), place)

``hello/page.html`` is ``metamcp_asgi/hello/templates/page.html`` and extends ``pages/layout.html``: the first part of a
template's name is its room. In every template are

- ``url("/login", callbackUrl="/")``: a link, right below whatever path the gateway is served;
- ``asset("style.css")``: the address of a file of ``pages/static``, which changes with its content;
- ``csrf_field()``, which every form that posts begins with; htmx sends the token by itself, in ``X-CSRF-Token``;
- ``_("Sign in")`` and ``ngettext``: texts in the language of the visitor, from ``locale/zh.po`` of each room. Python
  code marks its texts with ``N_``, and the template shows such a value with ``told(text)``; never with ``_``, which
  does not escape it. ``make texts`` adds what is missing to the catalogues, and a test fails until it is translated;
- ``visit``: the language, the theme and the path; ``me``: who is signed in, or ``None``.

There is no inline script or style, because the content security policy forbids both: behaviour is htmx's attributes or
a file of ``pages/static``. A ``StoreError`` that an application raises becomes a page with the status it stands for.
"""
