// An MCP server on a port of 127.0.0.1: streamable HTTP at /mcp, or the dialect of POST /sse; GET / tells health.
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler } from '@modelcontextprotocol/server';
import { LinkedIn } from './linkedin.js';
import { ssePost } from './sse-post.js';
import { mcpServer } from './tools.js';

const { port, dialect } = parseArgs({
  options: { port: { type: 'string', default: '8080' }, dialect: { type: 'string', default: 'http' } },
}).values;
const { LINKEDIN_COOKIE = '', LINKEDIN_BASE_URL = 'https://www.linkedin.com', LINKEDIN_DELAY_MS = '2000' } = process.env;
const must = (holds, what) => {
  if (holds) return;
  console.error(what);
  process.exit(78); // wharf does not try again what its configuration makes impossible
};
must(/^[\w.~+/=%:-]+$/.test(LINKEDIN_COOKIE), 'LINKEDIN_COOKIE must be the value of the cookie li_at of a browser that is logged in');
must(URL.canParse(LINKEDIN_BASE_URL), `LINKEDIN_BASE_URL must be a URL, not ${LINKEDIN_BASE_URL}`);
must(/^\d+$/.test(LINKEDIN_DELAY_MS), `LINKEDIN_DELAY_MS must be a whole number, not ${LINKEDIN_DELAY_MS}`);

const linkedin = new LinkedIn({ cookie: LINKEDIN_COOKIE, base: LINKEDIN_BASE_URL, delay: Number(LINKEDIN_DELAY_MS) });
const mcp = createMcpHandler(() => mcpServer(linkedin));
const endpoints = { http: ['/mcp', mcp.fetch], 'sse-post': ['/sse', ssePost(mcp.fetch)] };
must(Object.hasOwn(endpoints, dialect), `--dialect must be ${Object.keys(endpoints).join(' or ')}, not ${dialect}`);
const [path, endpoint] = endpoints[dialect];

const answer = toNodeHandler({
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === path) return endpoint(request);
    if (pathname === '/' && request.method === 'GET') return new Response('ok\n');
    return new Response('not found\n', { status: 404 });
  },
});
const [isOurHost, isOurOrigin] = [localhostHostValidation(), localhostOriginValidation()];
createServer((req, res) => {
  if (isOurHost(req, res) && isOurOrigin(req, res)) answer(req, res);
}).listen(Number(port), '127.0.0.1', () => console.error(`listening on 127.0.0.1:${port}${path}`));
