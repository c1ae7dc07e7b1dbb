"""People sign in: sessions in a cookie, and the pages on which they begin and end.

The pages of signed-in people are an application inside ``for_people``, the protection of ``pages.site`` included::

    from metamcp_asgi.pages.render import render
    from metamcp_asgi.signin.people import for_people, person

    async def mine(request):
        me = person(request.scope)                       # a SignedIn; never None where it is required
        async with (await store()).read() as tx:
            rows = await servers.list_(tx, me.acting)    # the policy's ``Acting``, for every service
        return render(request.scope, "admin/servers.html", rows=rows)

    app = for_people(Router([Route("/servers", mine)]), sessions, place, hosts=..., origins=...)

Who is in no session is led to ``/login?callbackUrl=...`` and back. With ``required=False``, ``person_or_none`` gives
``None`` for them instead: a page that is only partly for people, such as an OAuth consent page, then asks with
``ask_to_sign_in(scope)``, whose answer leads back to the same URL, query included. Forms are read with
``pages.forms.form_of(scope)``; the token in them is checked before the application is called, and a form whose answer
leads to another site is shown with ``render(..., form_action=["https://client.example"])``. ``SignedIn.session`` names
the session, to which something that must end with it can be bound; ``SignedIn.since`` tells when the person showed who
they are.

Without pages, ``await sessions.signed_in(scope)`` gives the ``SignedIn | None`` of any request; what changes something
must then be checked with ``pages.forms.is_foreign`` and ``SignedIn.csrf``, as the management API does.
"""
