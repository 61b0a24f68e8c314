// The certified oidc-provider for tests: node server.mjs CONFIGURATION.json
// {port, keys: [JWK], clients: [{id, secret, origins: [..], provider}], claims: {..}, cookie_key, par_required}
// Real login form, no consent page, rotating refresh tokens, PKCE demanded, back-channel logout.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const issuer = `http://127.0.0.1:${settings.port}`

const provider = new Provider(issuer, {
  clients: settings.clients.map((client) => ({
    client_id: client.id,
    client_secret: client.secret,
    redirect_uris: client.origins.map((origin) => `${origin}/.gateway/oidc/${client.provider}/callback`),
    post_logout_redirect_uris: client.origins.map((origin) => `${origin}/.gateway/oidc/${client.provider}/signed-out`),
    ...(client.back_channel && {
      backchannel_logout_uri: `${client.origins[0]}/.gateway/oidc/${client.provider}/logout`,
      backchannel_logout_session_required: true,
    }),
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  })),
  jwks: { keys: settings.keys },
  cookies: { keys: [settings.cookie_key] },
  fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }), // its own refuses addresses of this machine
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    revocation: { enabled: true },
    pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: Boolean(settings.par_required) },
  },
  claims: { openid: ['sub', 'acr', 'amr', 'preferred_username', ...Object.keys(settings.claims)] },
  scopes: ['openid', 'offline_access', 'email', 'profile'],
  conformIdTokenClaims: false,
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, preferred_username: sub, ...settings.claims }) }),
  interactions: { url: (_, interaction) => `/sign-in/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const { session, client, params } = ctx.oidc
    const known = ctx.oidc.result?.consent?.grantId ?? session.grantIdFor(client.clientId)
    if (known) return ctx.oidc.provider.Grant.find(known)
    const grant = new ctx.oidc.provider.Grant({ accountId: session.accountId, clientId: client.clientId })
    grant.addOIDCScope(params.scope)
    await grant.save()
    return grant
  },
  ttl: { Session: 86400, Grant: 86400, Interaction: 600, IdToken: 3600, AccessToken: settings.access_token_s ?? 3600, RefreshToken: 86400 },
})

provider.on('backchannel.error', (ctx, error, client) => console.error('backchannel', client.clientId, String(error), String(error.cause)))
provider.on('server_error', (ctx, error) => console.error('server', error))

const readBody = async (request) => {
  let body = ''
  for await (const part of request) body += part
  return new URLSearchParams(body)
}

const page = (path) => `<!doctype html><title>Sign in</title><form method="post" action="${path}">
<input name="username"><button>Sign in</button></form>`

const callback = provider.callback()
createServer(async (request, response) => {
  try {
    if (!request.url.startsWith('/sign-in/')) return callback(request, response)
    await provider.interactionDetails(request, response)
    if (request.method === 'POST') {
      const form = await readBody(request)
      const accountId = form.get('username')
      if (accountId === 'nobody') return await provider.interactionFinished(request, response, { error: 'access_denied' })
      if (accountId) return await provider.interactionFinished(request, response, { login: { accountId, amr: ['pwd', 'mfa'] } })
    }
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page(request.url))
  } catch (error) {
    response.writeHead(400, { 'content-type': 'text/plain' }).end(String(error))
  }
}).listen(settings.port, '127.0.0.1')
