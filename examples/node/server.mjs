// An MCP server over stdio in plain Node: no package, no install.
import { createInterface } from 'node:readline';

const REVISIONS = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'];

const tools = {
  greet: {
    description: 'Greets someone',
    inputSchema: {
      type: 'object',
      properties: { name: { type: 'string', description: 'whom' } },
      required: ['name'],
    },
    run({ name }) {
      if (typeof name !== 'string') throw new Error('the argument "name" is not a string');
      return `Hello, ${name}!`;
    },
  },
};

const methods = {
  initialize: ({ protocolVersion } = {}) => ({
    protocolVersion: REVISIONS.includes(protocolVersion) ? protocolVersion : REVISIONS.at(-1),
    capabilities: { tools: {} },
    serverInfo: { name: 'node-example', version: '1.0.0' },
  }),
  ping: () => ({}),
  'tools/list': () => ({
    tools: Object.entries(tools).map(([name, { run, ...tool }]) => ({ name, ...tool })),
  }),
  async 'tools/call'({ name, arguments: args = {} } = {}) {
    if (!Object.hasOwn(tools, name)) throw rpcError(-32602, `unknown tool: ${name}`);
    try {
      return { content: [{ type: 'text', text: String(await tools[name].run(args)) }] };
    } catch (error) {
      // The model reads this and may try again; a JSON-RPC error would not reach it.
      return { content: [{ type: 'text', text: String(error.message ?? error) }], isError: true };
    }
  },
};

const rpcError = (code, message) => Object.assign(new Error(message), { code });
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\n');

async function handle(line) {
  let message;
  try {
    message = JSON.parse(line);
  } catch (error) {
    return send({ id: null, error: { code: -32700, message: error.message } });
  }
  const { id, method, params } = message ?? {};
  if (id === undefined || method === undefined) return; // notifications and answers want none
  try {
    if (!Object.hasOwn(methods, method)) throw rpcError(-32601, `method not found: ${method}`);
    send({ id, result: await methods[method](params ?? {}) });
  } catch (error) {
    send({ id, error: { code: error.code ?? -32603, message: error.message } });
  }
}

// Logs go to stderr: stdout belongs to the protocol. The process ends by itself when stdin ends.
createInterface({ input: process.stdin }).on('line', (line) => line.trim() && handle(line));
console.error('node-example is ready');
