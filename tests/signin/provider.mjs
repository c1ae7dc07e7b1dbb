// A certified OpenID provider, in which anybody signs in by a name that says what it tells of them: see `people` below.
//   node provider.mjs NODE_MODULES CLIENT_ID CLIENT_SECRET
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, client_id, client_secret] = process.argv.slice(2);
const path = createRequire(`${modules}/`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(path).href);

// ada        ada@example.com, verified        ada~no     not verified        ada~silent   nothing is said about that
// ada@b.c    that address                     ~nobody    no address at all
function told(login) {
  const [name, how] = login.split('~');
  if (!name) return {};
  const email = name.includes('@') ? name : `${name}@example.com`;
  return { email, name: name[0].toUpperCase() + name.slice(1), ...(how === 'silent' ? {} : { email_verified: how !== 'no' }) };
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id,
      client_secret,
      // A loopback redirect is fine on any port then (RFC 8252).
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/api/auth/oauth2/callback/oidc'],
    }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    pkce: { required: () => true },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...told(id) }) }),
    cookies: { keys: ['of a test'] },
  });
  server.on('request', provider.callback());
  console.log(`ready at ${issuer}`);
});
