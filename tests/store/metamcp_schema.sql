-- MetaMCP's tables, after the description of its schema: what a copy reads, without its own migrations' history.

CREATE TYPE mcp_server_type AS ENUM ('STDIO', 'SSE', 'STREAMABLE_HTTP');
CREATE TYPE mcp_server_status AS ENUM ('ACTIVE', 'INACTIVE');
CREATE TYPE mcp_server_error_status AS ENUM ('NONE', 'ERROR');

CREATE TABLE users (
    id text PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, email_verified boolean NOT NULL DEFAULT false,
    image text, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE sessions (
    id text PRIMARY KEY, expires_at timestamptz NOT NULL, token text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    ip_address text, user_agent text, user_id text NOT NULL REFERENCES users ON DELETE CASCADE
);
CREATE TABLE accounts (
    id text PRIMARY KEY, account_id text NOT NULL, provider_id text NOT NULL,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    access_token text, refresh_token text, id_token text, access_token_expires_at timestamptz,
    refresh_token_expires_at timestamptz, scope text, password text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE verifications (
    id text PRIMARY KEY, identifier text NOT NULL, value text NOT NULL, expires_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now()
);
CREATE TABLE mcp_servers (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, description text,
    type mcp_server_type NOT NULL DEFAULT 'STDIO', command text, args text[] NOT NULL DEFAULT '{}',
    env jsonb NOT NULL DEFAULT '{}', url text, error_status mcp_server_error_status NOT NULL DEFAULT 'NONE',
    created_at timestamptz NOT NULL DEFAULT now(), bearer_token text, headers jsonb NOT NULL DEFAULT '{}',
    user_id text REFERENCES users ON DELETE CASCADE, UNIQUE (name, user_id)
);
CREATE TABLE oauth_sessions (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    mcp_server_uuid uuid NOT NULL UNIQUE REFERENCES mcp_servers ON DELETE CASCADE,
    client_information jsonb NOT NULL DEFAULT '{}', tokens jsonb, code_verifier text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE tools (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, description text, tool_schema jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    mcp_server_uuid uuid NOT NULL REFERENCES mcp_servers ON DELETE CASCADE, UNIQUE (mcp_server_uuid, name)
);
CREATE TABLE namespaces (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL CHECK (name ~ '^[a-zA-Z0-9_-]+$'),
    description text, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    user_id text REFERENCES users ON DELETE CASCADE, UNIQUE (name, user_id)
);
CREATE TABLE endpoints (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL UNIQUE, description text,
    namespace_uuid uuid NOT NULL REFERENCES namespaces ON DELETE CASCADE,
    enable_api_key_auth boolean NOT NULL DEFAULT true, enable_oauth boolean NOT NULL DEFAULT false,
    enable_max_rate boolean NOT NULL DEFAULT false, enable_client_max_rate boolean NOT NULL DEFAULT false,
    max_rate integer, max_rate_seconds integer, client_max_rate integer, client_max_rate_seconds integer,
    client_max_rate_strategy text, client_max_rate_strategy_key text,
    use_query_param_auth boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    user_id text REFERENCES users ON DELETE CASCADE
);
CREATE TABLE namespace_server_mappings (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    namespace_uuid uuid NOT NULL REFERENCES namespaces ON DELETE CASCADE,
    mcp_server_uuid uuid NOT NULL REFERENCES mcp_servers ON DELETE CASCADE,
    status mcp_server_status NOT NULL DEFAULT 'ACTIVE', created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (namespace_uuid, mcp_server_uuid)
);
CREATE TABLE namespace_tool_mappings (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    namespace_uuid uuid NOT NULL REFERENCES namespaces ON DELETE CASCADE,
    tool_uuid uuid NOT NULL REFERENCES tools ON DELETE CASCADE,
    mcp_server_uuid uuid NOT NULL REFERENCES mcp_servers ON DELETE CASCADE,
    status mcp_server_status NOT NULL DEFAULT 'ACTIVE',
    override_name text, override_title text, override_description text, override_annotations jsonb,
    created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (namespace_uuid, tool_uuid)
);
CREATE TABLE api_keys (
    uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, key text NOT NULL UNIQUE,
    user_id text REFERENCES users ON DELETE CASCADE, created_at timestamptz NOT NULL DEFAULT now(),
    is_active boolean NOT NULL DEFAULT true, UNIQUE (user_id, name)
);
CREATE TABLE config (
    id text PRIMARY KEY, value text NOT NULL, description text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE oauth_clients (
    client_id text PRIMARY KEY, client_secret text, client_name text NOT NULL, redirect_uris text[] NOT NULL DEFAULT '{}',
    grant_types text[] NOT NULL DEFAULT '{authorization_code}', response_types text[] NOT NULL DEFAULT '{code}',
    token_endpoint_auth_method text NOT NULL DEFAULT 'none', scope text DEFAULT 'admin', client_uri text, logo_uri text,
    contacts text[], tos_uri text, policy_uri text, software_id text, software_version text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE oauth_authorization_codes (
    code text PRIMARY KEY, client_id text NOT NULL REFERENCES oauth_clients ON DELETE CASCADE, redirect_uri text NOT NULL,
    scope text NOT NULL, user_id text NOT NULL REFERENCES users ON DELETE CASCADE, code_challenge text,
    code_challenge_method text, expires_at timestamptz NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE oauth_access_tokens (
    access_token text PRIMARY KEY, client_id text NOT NULL REFERENCES oauth_clients ON DELETE CASCADE,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE, scope text NOT NULL, expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
