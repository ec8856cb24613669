import { asPage } from '../.vitepress/data/markdown.ts';
import { decisions, readText } from '../.vitepress/data/repository.ts';

/** One page a decision record, and docs/decisions/README.md with the list of them as the index. */
export default {
  paths: () => [
    { params: { slug: 'index' }, content: `${page('README')}\n${list()}` },
    ...decisions().map(({ slug }) => ({ params: { slug }, content: page(slug) })),
  ],
};

function page(name: string): string {
  const path = `docs/decisions/${name}.md`;
  return asPage(path, readText(path));
}

function list(): string {
  const lines = decisions().map(({ slug, title }) => `- [${title}](/decisions/${slug})`);
  return `\n## All decisions\n\n${lines.join('\n')}\n`;
}
