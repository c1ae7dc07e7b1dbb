-- A row of every kind, and of every trouble: u1 came first and has a password, u2 logs in elsewhere.

INSERT INTO users (id, name, email, created_at) VALUES
    ('u1-abc', 'Ann', 'Ann@example.com', '2025-01-01'), ('u2-def', 'Bob', 'bob@example.com', '2025-02-01');
INSERT INTO accounts (id, account_id, provider_id, user_id, password) VALUES
    ('a1', 'u1-abc', 'credential', 'u1-abc',
     '00112233445566778899aabbccddeeff:' || repeat('ab', 64)),
    ('a2', 'bob', 'oidc', 'u2-def', NULL);
INSERT INTO sessions (id, expires_at, token, user_id) VALUES ('s1', now(), 'session-token', 'u1-abc');
INSERT INTO verifications (id, identifier, value, expires_at) VALUES ('v1', 'x', 'y', now());

INSERT INTO mcp_servers (uuid, name, description, type, command, args, env, url, error_status, bearer_token, headers,
                         user_id, created_at) VALUES
    ('10000000-0000-0000-0000-000000000001', 'time', 'The time', 'STDIO', 'uvx', '{mcp-server-time,"two words",$HOME}',
     '{"TOKEN": "${TIME_TOKEN}", "GONE": "${GONE}", "LITERAL": "a${B}"}', NULL, 'ERROR', NULL, '{}', NULL, '2025-01-01'),
    ('10000000-0000-0000-0000-000000000002', 'remote', NULL, 'STREAMABLE_HTTP', NULL, '{}', '{}',
     'https://h.example/mcp', 'NONE', 'bearer-secret', '{"X-Team": "header-secret", "authorization": "Bearer loses"}', 'u1-abc',
     '2025-01-02'),
    ('10000000-0000-0000-0000-000000000003', 'old', '', 'SSE', NULL, '{}', '{}', 'http://h.example/sse', 'NONE', NULL,
     '{}', NULL, '2025-01-03'),
    ('10000000-0000-0000-0000-000000000004', 'imported', NULL, 'STDIO', NULL, '{}', '{}', 'http://h.example/mcp', 'NONE',
     NULL, '{}', NULL, '2025-01-04'),
    ('10000000-0000-0000-0000-000000000005', 'time', NULL, 'STDIO', 'second', '{}', '{}', NULL, 'NONE', NULL, '{}', NULL,
     '2025-01-05'),
    ('10000000-0000-0000-0000-000000000006', 'a__b', NULL, 'STDIO', 'x', '{}', '{}', NULL, 'NONE', NULL, '{}', NULL,
     '2025-01-06'),
    ('10000000-0000-0000-0000-000000000007', 'broken', NULL, 'STDIO', NULL, '{}', '{}', NULL, 'NONE', NULL, '{}', NULL,
     '2025-01-07');
INSERT INTO oauth_sessions (uuid, mcp_server_uuid, client_information, tokens, code_verifier) VALUES
    ('20000000-0000-0000-0000-000000000001', '10000000-0000-0000-0000-000000000002', '{"client_id": "c"}',
     '{"access_token": "at", "refresh_token": "rt"}', 'verifier');
INSERT INTO tools (uuid, name, description, tool_schema, mcp_server_uuid) VALUES
    ('30000000-0000-0000-0000-000000000001', 'now', 'd', '{}', '10000000-0000-0000-0000-000000000001'),
    ('30000000-0000-0000-0000-000000000002', 'convert', 'd', '{}', '10000000-0000-0000-0000-000000000001'),
    ('30000000-0000-0000-0000-000000000003', 'plain', 'd', '{}', '10000000-0000-0000-0000-000000000001'),
    ('30000000-0000-0000-0000-000000000004', 'third', 'd', '{}', '10000000-0000-0000-0000-000000000001');
INSERT INTO namespaces (uuid, name, description, user_id, created_at) VALUES
    ('40000000-0000-0000-0000-000000000001', 'tools', 'All', NULL, '2025-01-01'),
    ('40000000-0000-0000-0000-000000000002', 'mine', NULL, 'u1-abc', '2025-01-02'),
    ('40000000-0000-0000-0000-000000000003', 'tools', NULL, NULL, '2025-01-03');
INSERT INTO namespace_server_mappings (uuid, namespace_uuid, mcp_server_uuid, status, created_at) VALUES
    ('50000000-0000-0000-0000-000000000001', '40000000-0000-0000-0000-000000000001',
     '10000000-0000-0000-0000-000000000003', 'INACTIVE', '2025-01-01'),
    ('50000000-0000-0000-0000-000000000002', '40000000-0000-0000-0000-000000000001',
     '10000000-0000-0000-0000-000000000001', 'ACTIVE', '2025-01-02'),
    ('50000000-0000-0000-0000-000000000003', '40000000-0000-0000-0000-000000000002',
     '10000000-0000-0000-0000-000000000002', 'ACTIVE', '2025-01-03'),
    ('50000000-0000-0000-0000-000000000004', '40000000-0000-0000-0000-000000000001',
     '10000000-0000-0000-0000-000000000007', 'ACTIVE', '2025-01-04');
INSERT INTO namespace_tool_mappings (uuid, namespace_uuid, tool_uuid, mcp_server_uuid, status, override_name,
                                     override_title, override_description, override_annotations, created_at) VALUES
    ('60000000-0000-0000-0000-000000000001', '40000000-0000-0000-0000-000000000001',
     '30000000-0000-0000-0000-000000000001', '10000000-0000-0000-0000-000000000001', 'ACTIVE', 'clock', 'Clock',
     'What time it is', '{"annotations": {"readOnlyHint": true}}', '2025-01-01'),
    ('60000000-0000-0000-0000-000000000002', '40000000-0000-0000-0000-000000000001',
     '30000000-0000-0000-0000-000000000002', '10000000-0000-0000-0000-000000000001', 'INACTIVE', NULL, NULL, NULL, NULL,
     '2025-01-02'),
    ('60000000-0000-0000-0000-000000000003', '40000000-0000-0000-0000-000000000001',
     '30000000-0000-0000-0000-000000000003', '10000000-0000-0000-0000-000000000001', 'ACTIVE', NULL, NULL, NULL, NULL,
     '2025-01-03'),
    ('60000000-0000-0000-0000-000000000004', '40000000-0000-0000-0000-000000000001',
     '30000000-0000-0000-0000-000000000004', '10000000-0000-0000-0000-000000000001', 'ACTIVE', 'clock', NULL, NULL,
     '{"openWorldHint": false}', '2025-01-04');
INSERT INTO endpoints (uuid, name, description, namespace_uuid, enable_api_key_auth, enable_oauth, enable_max_rate,
                       max_rate, max_rate_seconds, enable_client_max_rate, client_max_rate, client_max_rate_seconds,
                       client_max_rate_strategy, client_max_rate_strategy_key, use_query_param_auth, user_id) VALUES
    ('70000000-0000-0000-0000-000000000001', 'public', 'For all', '40000000-0000-0000-0000-000000000001', true, true,
     true, 10, 60, true, 5, 30, 'header', 'X-Client', true, NULL),
    ('70000000-0000-0000-0000-000000000002', 'mine', NULL, '40000000-0000-0000-0000-000000000002', true, false, false, 7,
     7, false, NULL, NULL, NULL, NULL, false, 'u1-abc'),
    ('70000000-0000-0000-0000-000000000003', 'open', NULL, '40000000-0000-0000-0000-000000000001', false, false, false,
     NULL, NULL, true, 5, 1, 'ip', NULL, false, NULL);
INSERT INTO api_keys (uuid, name, key, user_id, is_active, created_at) VALUES
    ('80000000-0000-0000-0000-000000000001', 'Everyone', 'sk_mt_' || repeat('a', 64), NULL, true, '2025-01-01'),
    ('80000000-0000-0000-0000-000000000002', 'Everyone', 'sk_mt_' || repeat('b', 64), NULL, false, '2025-01-02'),
    ('80000000-0000-0000-0000-000000000003', 'Ann', 'sk_mt_' || repeat('c', 64), 'u1-abc', true, '2025-01-03');
INSERT INTO config (id, value) VALUES
    ('DISABLE_SIGNUP', 'true'), ('DISABLE_SSO_SIGNUP', 'false'), ('MCP_TIMEOUT', '90000'), ('MCP_MAX_ATTEMPTS', '1'),
    ('SESSION_LIFETIME', ''), ('BOOTSTRAP_COMPLETE', 'true'), ('OF_THE_FUTURE', 'x');
INSERT INTO oauth_clients (client_id, client_secret, client_name, redirect_uris, client_uri, contacts) VALUES
    ('mcp_client_1', 'mcp_secret_1', 'Cursor', '{http://127.0.0.1:1234/callback}', 'https://c.example', '{me@c.example}'),
    ('mcp_client_2', NULL, 'Inspector', '{https://i.example/cb}', NULL, NULL);
INSERT INTO oauth_authorization_codes (code, client_id, redirect_uri, scope, user_id, expires_at) VALUES
    ('mcp_code_1', 'mcp_client_1', 'https://i.example/cb', 'admin', 'u1-abc', now());
INSERT INTO oauth_access_tokens (access_token, client_id, user_id, scope, expires_at) VALUES
    ('mcp_token_1', 'mcp_client_1', 'u1-abc', 'admin', now());
