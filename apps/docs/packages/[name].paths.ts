import { asPage } from '../.vitepress/data/markdown.ts';
import { housePackages, readText } from '../.vitepress/data/repository.ts';

/** One page a package: its README, which is the only place where it is described. */
export default {
  paths: () =>
    housePackages().map(({ name, folder }) => {
      const path = `${folder}/README.md`;
      return { params: { name }, content: asPage(path, readText(path)) };
    }),
};
