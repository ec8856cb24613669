import { asPage } from './.vitepress/data/markdown.ts';
import { readText } from './.vitepress/data/repository.ts';

/** Pages that live in docs/ of the repository. */
export default {
  paths: () =>
    ['performance', 'status'].map((page) => {
      const path = `docs/${page}.md`;
      return { params: { page }, content: asPage(path, readText(path)) };
    }),
};
