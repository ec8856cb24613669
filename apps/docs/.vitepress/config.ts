import { defineConfig } from 'vitepress';
import { decisions, housePackages } from './data/repository.ts';

const packages = [...housePackages()].reverse();

/** No network, no fonts from elsewhere, no clock: the site is the same bytes for the same sources. */
export default defineConfig({
  title: 'nvmx',
  description:
    'L0 in TypeScript: a nested-VMX hypervisor core that runs real L1 hypervisors and checks their page handling.',
  lang: 'en-US',
  head: [
    ['link', { rel: 'icon', type: 'image/svg+xml', href: '/logo.svg' }],
    ['meta', { name: 'theme-color', content: '#0f766e' }],
  ],
  srcExclude: ['README.md'],
  themeConfig: {
    logo: '/logo.svg',
    outline: { level: [2, 3] },
    search: { provider: 'local' },
    nav: [
      { text: 'Guide', link: '/guide/start', activeMatch: '/guide/' },
      { text: 'Packages', link: '/packages/', activeMatch: '/packages/' },
      { text: 'VMCS fields', link: '/reference/vmcs-fields' },
      {
        text: 'Project',
        items: [
          { text: 'Performance', link: '/performance' },
          { text: 'Status', link: '/status' },
          { text: 'Decisions', link: '/decisions/' },
        ],
      },
    ],
    sidebar: [
      {
        text: 'Guide',
        items: [
          { text: 'Two commands', link: '/guide/start' },
          { text: 'The house', link: '/guide/house' },
          { text: 'One L2 entry', link: '/guide/l2-entry' },
        ],
      },
      {
        text: 'Packages',
        items: [
          { text: 'Overview', link: '/packages/' },
          ...packages.map(({ name }) => ({ text: name, link: `/packages/${name}` })),
        ],
      },
      { text: 'Reference', items: [{ text: 'VMCS fields', link: '/reference/vmcs-fields' }] },
      {
        text: 'Project',
        items: [
          { text: 'Performance', link: '/performance' },
          { text: 'Status', link: '/status' },
          {
            text: 'Decisions',
            link: '/decisions/',
            collapsed: true,
            items: decisions().map(({ slug, title }) => ({ text: title, link: `/decisions/${slug}` })),
          },
        ],
      },
    ],
    footer: { message: 'MIT license', copyright: 'the nvmx authors' },
  },
});
