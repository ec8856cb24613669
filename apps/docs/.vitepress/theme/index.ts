import type { Theme } from 'vitepress';
import DefaultTheme from 'vitepress/theme-without-fonts';
import HouseLayers from './HouseLayers.vue';
import L2Entry from './L2Entry.vue';
import PackageTable from './PackageTable.vue';
import './style.css';
import VmcsFields from './VmcsFields.vue';

export default {
  extends: DefaultTheme,
  enhanceApp({ app }) {
    app.component('HouseLayers', HouseLayers);
    app.component('L2Entry', L2Entry);
    app.component('PackageTable', PackageTable);
    app.component('VmcsFields', VmcsFields);
  },
} satisfies Theme;
