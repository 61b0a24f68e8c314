// An OpenID Provider for one sign-in: node server.mjs PORT CLIENT_ID CLIENT_SECRET PASSWORD REDIRECT_URI...
// Code flow with a real login form; consent is given with the password, as for a first-party client.
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const [port, clientId, clientSecret, password, ...redirectUris] = process.argv.slice(2)
const issuer = `http://127.0.0.1:${port}`

const provider = new Provider(issuer, {
  clients: [{
    client_id: clientId,
    client_secret: clientSecret,
    redirect_uris: redirectUris,
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  cookies: { keys: [clientSecret] },
  features: { devInteractions: { enabled: false } },
  claims: { openid: ['sub', 'tenant', 'roles'] },
  conformIdTokenClaims: false,
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, tenant: 'acme', roles: ['client', 'billing'] }),
  }),
  interactions: { url: (_, interaction) => `/sign-in/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const { session, client } = ctx.oidc
    const known = ctx.oidc.result?.consent?.grantId ?? session.grantIdFor(client.clientId)
    if (known) return ctx.oidc.provider.Grant.find(known)
    const grant = new ctx.oidc.provider.Grant({ accountId: session.accountId, clientId: client.clientId })
    grant.addOIDCScope('openid')
    await grant.save()
    return grant
  },
  ttl: { Session: 86400, Grant: 86400, Interaction: 600, IdToken: 86400, AccessToken: 86400 },
})

const readBody = async (request) => {
  let body = ''
  for await (const part of request) body += part
  return new URLSearchParams(body)
}

const page = (path) => `<!doctype html><title>Sign in</title><form method="post" action="${path}">
<input name="username"><input name="password" type="password"><button>Sign in</button></form>`

const callback = provider.callback()
createServer(async (request, response) => {
  try {
    if (!request.url.startsWith('/sign-in/')) return callback(request, response)
    await provider.interactionDetails(request, response)
    if (request.method === 'POST') {
      const form = await readBody(request)
      if (form.get('username') && form.get('password') === password) {
        return await provider.interactionFinished(request, response, { login: { accountId: form.get('username') } })
      }
    }
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page(request.url))
  } catch (error) {
    response.writeHead(400, { 'content-type': 'text/plain' }).end(String(error))
  }
}).listen(Number(port), '127.0.0.1')
