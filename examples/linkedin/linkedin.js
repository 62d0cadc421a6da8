// The only way to LinkedIn: slowly, with the cookie for LinkedIn alone, and with errors that say what to do.
import { setTimeout as sleep } from 'node:timers/promises';

const ATTEMPTS = 4;
const LONGEST_WAIT = 60_000; // ms
const PATIENCE = 30_000; // ms, for one page
const MAX_PAGE = 5_000_000; // characters
const MAX_REDIRECTS = 3;

const LOGIN = /^\/(authwall|login|uas\/login|checkpoint)\b/;
const EXPIRED =
  'LinkedIn asks for a login: the cookie has expired or was refused. Log in with a browser, set LINKEDIN_COOKIE to the new value of its cookie li_at, and start the plugin again.';

export class LinkedIn {
  #cookie;
  #base;
  #delay;
  #free = 0; // when the next request may go out

  constructor({ cookie, base, delay }) {
    this.#cookie = cookie;
    this.#base = new URL(base);
    this.#delay = delay; // ms
  }

  /** The page at a path, as text. */
  async page(path, signal) {
    for (let attempt = 1; ; attempt++) {
      const response = await this.#follow(new URL(path, this.#base), signal);
      if (response.status !== 429) return this.#text(response, path);
      const wait = waitOf(response, attempt);
      if (attempt === ATTEMPTS || wait > LONGEST_WAIT) {
        const seconds = Math.max(Math.ceil(wait / 1000), 1);
        throw new Error(`LinkedIn takes no more requests (429 at attempt ${attempt}). Try again in ${seconds} s, or raise LINKEDIN_DELAY_MS.`);
      }
      console.error(`429 for ${path}; all requests wait ${wait} ms`);
      this.#free = Math.max(this.#free, Date.now() + wait);
    }
  }

  async #follow(url, signal, redirects = 0) {
    const response = await this.#get(url, signal);
    const to = response.status >= 300 && response.status < 400 && response.headers.get('location');
    if (!to) return response;
    await response.body?.cancel();
    const target = new URL(to, url);
    if (LOGIN.test(target.pathname)) throw new Error(EXPIRED);
    // The cookie goes nowhere else.
    if (target.origin !== this.#base.origin || redirects === MAX_REDIRECTS) {
      throw new Error(`LinkedIn redirects ${url.pathname} to ${target.origin}${target.pathname}; this is not followed.`);
    }
    return this.#follow(target, signal, redirects + 1);
  }

  /** One request, when its turn has come: turns are one delay apart. */
  async #get(url, signal) {
    const turn = Math.max(this.#free, Date.now());
    this.#free = turn + this.#delay;
    await sleep(turn - Date.now(), undefined, { signal });
    try {
      return await fetch(url, {
        redirect: 'manual',
        headers: { cookie: `li_at=${this.#cookie}`, 'accept-language': 'en' },
        signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]),
      });
    } catch (error) {
      throw new Error(`LinkedIn cannot be reached at ${url.origin}: ${error.cause?.code ?? error.message}`);
    }
  }

  async #text(response, path) {
    let text = '';
    for await (const part of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += part;
      if (text.length > MAX_PAGE) throw new Error(`The page ${path} is longer than ${MAX_PAGE} characters.`);
    }
    if (response.status === 401 || /<meta name="pageKey" content="auth_wall/.test(text)) throw new Error(EXPIRED);
    if (response.status === 404) throw new Error(`LinkedIn has no page ${path}: check the name or the number.`);
    if (response.status === 403 || response.status === 999) {
      throw new Error(`LinkedIn takes this for a robot (status ${response.status}): wait some hours, then raise LINKEDIN_DELAY_MS.`);
    }
    if (!response.ok) throw new Error(`LinkedIn answers ${response.status} for ${path}; try again later.`);
    return text;
  }
}

/** How long LinkedIn wants us to wait (ms), or 1, 2, 4 .. s where it does not say. */
function waitOf(response, attempt) {
  const said = response.headers.get('retry-after');
  const seconds = Number(said ?? Number.NaN);
  const wait = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(said) - Date.now();
  return Number.isFinite(wait) ? Math.max(wait, 0) : Math.min(2 ** (attempt - 1) * 1000, LONGEST_WAIT);
}
