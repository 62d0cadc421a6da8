// What is read from which page. When LinkedIn changes a page, its selectors are corrected here and nowhere else.
import { load as parse } from 'cheerio';

export class PageChanged extends Error {
  constructor(page, selector) {
    super(`LinkedIn's ${page} has changed: nothing is found at "${selector}". Correct the selectors in pages.js.`);
  }
}

function load(html) {
  const $ = parse(html);
  $('br').replaceWith('\n');
  return $;
}

/** Reads texts below one element of a page; what must be there and is not says that the page has changed. */
const reader = (page, root) => {
  const text = (selector) => root.find(selector).first().text().replace(/\s+/g, ' ').trim() || null;
  const must = (selector) => {
    const found = text(selector);
    if (found === null) throw new PageChanged(page, selector);
    return found;
  };
  return { text, must };
};

const number = (text) => (/\d/.test(text ?? '') ? Number(text.replace(/\D/g, '')) : 0);

export function profile(html) {
  const $ = load(html);
  const { text, must } = reader('page of a person', $.root());
  const entries = (section) =>
    $(`section[data-section="${section}"] li`).toArray().map((item) => {
      const { text, must } = reader('page of a person', $(item));
      return { title: must('.profile-section-card__title'), at: text('.profile-section-card__subtitle'), dates: text('.date-range') };
    });
  return {
    name: must('.top-card-layout__title'),
    headline: text('.top-card-layout__headline'),
    location: text('.profile-info-subheader .not-first-middot'),
    about: text('section[data-section="summary"] .core-section-container__content'),
    experience: entries('experience'),
    education: entries('educationsDetails'),
  };
}

export function company(html) {
  const { text, must } = reader('page of a company', load(html).root());
  return {
    name: must('.top-card-layout__title'),
    about: must('[data-test-id="about-us__description"]'),
    website: text('[data-test-id="about-us__website"] dd'),
    industry: text('[data-test-id="about-us__industry"] dd'),
    size: text('[data-test-id="about-us__size"] dd'),
    headquarters: text('[data-test-id="about-us__headquarters"] dd'),
  };
}

export function posts(html) {
  const $ = load(html);
  reader('page of a company', $.root()).must('.top-card-layout__title');
  return $('section[data-test-id="updates"] li').toArray().map((item) => {
    const { text, must } = reader('list of posts', $(item));
    return {
      text: must('[data-test-id="main-feed-activity-card__commentary"]'),
      age: text('time'),
      reactions: number(text('[data-test-id="social-actions__reaction-count"]')),
      comments: number(text('[data-test-id="social-actions__comments"]')),
    };
  });
}

export function jobs(html) {
  const $ = load(html);
  return $('li').toArray().map((item) => {
    const { text, must } = reader('list of jobs', $(item));
    const urn = $(item).find('[data-entity-urn]').attr('data-entity-urn');
    const id = urn?.match(/^urn:li:jobPosting:(\d+)$/)?.[1];
    if (!id) throw new PageChanged('list of jobs', '[data-entity-urn]');
    return {
      id,
      title: must('.base-search-card__title'),
      company: must('.base-search-card__subtitle'),
      location: text('.job-search-card__location'),
      listed: $(item).find('time').attr('datetime') ?? null,
    };
  });
}

export function job(html) {
  const $ = load(html);
  const { text, must } = reader('page of a job', $.root());
  const criteria = $('.description__job-criteria-item').toArray().map((item) => {
    const { must } = reader('page of a job', $(item));
    return [must('.description__job-criteria-subheader'), must('.description__job-criteria-text')];
  });
  return {
    title: must('.top-card-layout__title'),
    company: must('.topcard__org-name-link'),
    location: text('.topcard__flavor--bullet'),
    description: must('.show-more-less-html__markup'),
    criteria: Object.fromEntries(criteria),
  };
}
