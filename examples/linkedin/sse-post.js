// The dialect of POST /sse: a session named by x-session-id, methods initialize, list_tools and call_tool, and one event
// as the answer. Beside those names it is MCP, so the SDK's handler answers.
import { randomUUID } from 'node:crypto';

const METHODS = { initialize: 'initialize', list_tools: 'tools/list', call_tool: 'tools/call' };
const MAX_SESSIONS = 1000;

const event = (message) =>
  new Response(`event: message\ndata: ${JSON.stringify(message)}\n\n`, { headers: { 'content-type': 'text/event-stream' } });
const problem = (status, error) => Response.json({ error }, { status });

export function ssePost(handle) {
  const sessions = new Set();
  return async (request) => {
    if (request.method !== 'POST') return problem(405, 'use POST');
    const message = await request.json().catch(() => undefined);
    if (typeof message?.method !== 'string' || message.id === undefined) return problem(400, 'the body is no JSON-RPC request');
    const { id, method } = message;
    let session = request.headers.get('x-session-id');
    if (method === 'initialize') {
      sessions.add((session ??= randomUUID()));
      if (sessions.size > MAX_SESSIONS) sessions.delete(sessions.values().next().value);
    } else if (!sessions.has(session)) {
      return problem(404, 'invalid or expired session');
    }
    if (!Object.hasOwn(METHODS, method)) {
      return event({ jsonrpc: '2.0', error: { code: -32601, message: `method not found: ${method}` }, id });
    }
    const response = await handle(
      new Request(request.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
        body: JSON.stringify({ ...message, method: METHODS[method] }),
        signal: request.signal,
      }),
    );
    response.headers.set('x-session-id', session);
    return response;
  };
}
