// A small MCP server on stdio, of which only its process tree matters. The first argument is a folder: it stands in the
// arguments of all that it starts, so that a test finds them. `detached` leaves a child in a session of its own that
// keeps nothing of ours but that argument.
const { spawn } = require('node:child_process');
const { createInterface } = require('node:readline');

const [folder, mode] = process.argv.slice(2);
if (mode === 'detached') {
  const live = 'setTimeout(() => {}, 600000)';
  spawn(process.execPath, ['-e', live, folder], { detached: true, stdio: 'ignore', cwd: '/', env: {} }).unref();
}

const results = {
  initialize: (params) => ({
    protocolVersion: params.protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: 'tree', version: '1' },
  }),
  ping: () => ({}),
  'tools/list': () => ({ tools: [{ name: 'echo', inputSchema: { type: 'object' } }] }),
  'tools/call': () => ({ content: [{ type: 'text', text: 'here' }] }),
};

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { id, method, params } = JSON.parse(line);
    if (id === undefined) return;
    const result = results[method];
    const answer = result ? { result: result(params) } : { error: { code: -32601, message: `no ${method}` } };
    console.log(JSON.stringify({ jsonrpc: '2.0', id, ...answer }));
  })
  .on('close', () => process.exit(0));
