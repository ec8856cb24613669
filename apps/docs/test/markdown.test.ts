import { describe, expect, it } from 'vitest';
import { asPage } from '../.vitepress/data/markdown.ts';
import { decisions, housePackages } from '../.vitepress/data/repository.ts';

const from = 'packages/pfncache/README.md';

describe('asPage', () => {
  it.each([
    ['a sibling by its folder', '[x](../sync)', '[x](/packages/sync)'],
    ['a sibling by its README, with a heading', '[x](../sync/README.md#api)', '[x](/packages/sync#api)'],
    ['the command line', '[x](../../apps/cli/README.md)', '[x](/packages/cli)'],
    ['a decision record', '[x](../../docs/decisions/0002-tooling.md)', '[x](/decisions/0002-tooling)'],
    ['the list of decisions', '[x](../../docs/decisions/README.md)', '[x](/decisions/)'],
    ['the root README', '[x](../../README.md)', '[x](/)'],
  ])('a link to %s becomes a link to its page', (_, markdown, page) => {
    expect(asPage(from, markdown)).toBe(page);
  });

  it.each([
    ['a source file', '[the code](src/index.ts)'],
    ['a file outside of the packages', '[the code](../../LICENSE)'],
  ])('a link to %s has no page and becomes its words', (_, markdown) => {
    expect(asPage(from, markdown)).toBe('the code');
  });

  it.each(['[x](https://example.org/a)', '[x](#usage)', '[x](/guide/start)', '[x](mailto:a@example.org)'])(
    '%s stays as it is',
    (markdown) => {
      expect(asPage(from, markdown)).toBe(markdown);
    },
  );

  it('what Vue would read as its own is escaped in text', () => {
    expect(asPage(from, 'a < b, {{ c }}')).toBe('a &lt; b, &#123;&#123; c }}');
  });

  it('code keeps its characters, inline and fenced', () => {
    const markdown = 'Takes `Op<T>` and `{{`.\n\n```ts\nconst a: Op<T> = [b](c);\nif (a < b) {{ }}\n```\n';
    expect(asPage(from, markdown)).toBe(markdown);
  });

  it('HTML that is meant stays', () => {
    expect(asPage(from, '<!-- note --> a<br>b')).toBe('<!-- note --> a<br>b');
  });
});

describe('housePackages', () => {
  const packages = housePackages();

  it('every package stands above all that it imports', () => {
    for (const { name, layer, siblings } of packages) {
      for (const sibling of siblings) {
        expect(packages.find((one) => one.name === sibling)?.layer, `${sibling} under ${name}`).toBeLessThan(layer);
      }
    }
  });

  it('what imports no sibling is the ground', () => {
    expect(packages.filter((one) => one.layer === 0).map((one) => one.name)).toEqual(
      packages.filter((one) => one.siblings.length === 0).map((one) => one.name),
    );
  });
});

describe('decisions', () => {
  it('are numbered without gaps, and each has a title', () => {
    const all = decisions();
    expect(all.map(({ slug }) => Number(slug.slice(0, 4)))).toEqual(all.map((_, index) => index + 1));
    expect(all.filter(({ title }) => title === '')).toEqual([]);
  });
});
