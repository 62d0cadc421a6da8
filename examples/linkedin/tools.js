// The tools: which page each asks for, and what it answers.
import { McpServer } from '@modelcontextprotocol/server';
import { z } from 'zod';
import * as pages from './pages.js';

const name = (what) => z.string().regex(/^[\p{L}\p{N}_-]{1,100}$/u, 'only letters, digits, - and _').describe(what);
const text = z.string().nullable();
const entry = z.object({ title: z.string(), at: text, dates: text });
const post = z.object({ text: z.string(), age: text, reactions: z.number(), comments: z.number() });
const found = z.object({ id: z.string(), title: z.string(), company: z.string(), location: text, listed: text });
const limit = z.number().int().min(1).max(25).default(10).describe('how many at most');

const tools = {
  get_person_profile: {
    description: "A person's profile: name, headline, about, experience, education",
    input: { username: name('as in linkedin.com/in/USERNAME') },
    output: { name: z.string(), headline: text, location: text, about: text, experience: z.array(entry), education: z.array(entry) },
    path: ({ username }) => `/in/${encodeURIComponent(username)}`,
    read: (page) => pages.profile(page),
  },
  get_company_profile: {
    description: "A company's profile: about, website, industry, size, headquarters",
    input: { company: name('as in linkedin.com/company/COMPANY') },
    output: { name: z.string(), about: z.string(), website: text, industry: text, size: text, headquarters: text },
    path: ({ company }) => `/company/${encodeURIComponent(company)}`,
    read: (page) => pages.company(page),
  },
  get_company_posts: {
    description: 'The latest posts of a company',
    input: { company: name('as in linkedin.com/company/COMPANY'), limit },
    output: { posts: z.array(post) },
    path: ({ company }) => `/company/${encodeURIComponent(company)}`,
    read: (page, { limit }) => ({ posts: pages.posts(page).slice(0, limit) }),
  },
  search_jobs: {
    description: 'Searches jobs',
    input: { keywords: z.string().min(1).max(200), location: z.string().max(200).optional(), limit },
    output: { jobs: z.array(found) },
    path: ({ keywords, location = '' }) => `/jobs-guest/jobs/api/seeMoreJobPostings/search?${new URLSearchParams({ keywords, location })}`,
    read: (page, { limit }) => ({ jobs: pages.jobs(page).slice(0, limit) }),
  },
  get_job_details: {
    description: 'A job: title, company, description, criteria',
    input: { job_id: z.string().regex(/^\d{1,20}$/, 'only digits').describe('the id that search_jobs gives') },
    output: { title: z.string(), company: z.string(), location: text, description: z.string(), criteria: z.record(z.string(), z.string()) },
    path: ({ job_id }) => `/jobs-guest/jobs/api/jobPosting/${job_id}`,
    read: (page) => pages.job(page),
  },
};

export function mcpServer(linkedin) {
  const server = new McpServer({ name: 'linkedin', version: '1.0.0' });
  for (const [name, { description, input, output, path, read }] of Object.entries(tools)) {
    const config = {
      description,
      inputSchema: z.object(input),
      outputSchema: z.object(output),
      annotations: { readOnlyHint: true, openWorldHint: true },
    };
    // What is thrown becomes an answer with isError: the model reads it.
    server.registerTool(name, config, async (args, { mcpReq }) => {
      const structuredContent = read(await linkedin.page(path(args), mcpReq.signal), args);
      return { structuredContent, content: [{ type: 'text', text: JSON.stringify(structuredContent) }] };
    });
  }
  return server;
}
