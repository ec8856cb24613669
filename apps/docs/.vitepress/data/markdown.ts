import { posix } from 'node:path';

/** Pages of the site by the file of the repository that they show. */
const pages: readonly (readonly [RegExp, string])[] = [
  [/^packages\/([^/]+)(?:\/README\.md)?\/?$/, '/packages/$1'],
  [/^apps\/cli(?:\/README\.md)?\/?$/, '/packages/cli'],
  [/^docs\/decisions\/(\d{4}-[^/]+)\.md$/, '/decisions/$1'],
  [/^docs\/decisions(?:\/README\.md)?\/?$/, '/decisions/'],
  [/^docs\/(performance|status)\.md$/, '/$1'],
  [/^README\.md$/, '/'],
];

/**
 * Makes a page of the site from a markdown file of the repository at `path`: links to other files become links to their
 * pages, or plain words where there is no page; what Vue would take for its own syntax is escaped outside of code.
 */
export function asPage(path: string, markdown: string): string {
  return outsideCode(markdown, (text) => escapeVue(rewriteLinks(path, text)));
}

function outsideCode(markdown: string, change: (text: string) => string): string {
  return markdown
    .split(/(^```[\s\S]*?^```[^\n]*$|`[^`\n]+`)/m)
    .map((part, index) => (index % 2 === 1 ? part : change(part)))
    .join('');
}

function escapeVue(text: string): string {
  return text.replaceAll('{{', '&#123;&#123;').replace(/<(?![a-z/!][^>\n]*>)/gi, '&lt;');
}

function rewriteLinks(path: string, text: string): string {
  return text.replace(/\[([^\]]*)\]\(([^)\s]+)\)/g, (link, words: string, target: string) => {
    if (/^(https?:|mailto:|#|\/)/.test(target)) return link;
    const [file = '', hash] = target.split('#');
    const page = pageOf(posix.join(posix.dirname(path), file));
    return page === undefined ? words : `[${words}](${page}${hash === undefined ? '' : `#${hash}`})`;
  });
}

function pageOf(file: string): string | undefined {
  const found = pages.find(([pattern]) => pattern.test(file));
  return found === undefined ? undefined : file.replace(found[0], found[1]);
}
