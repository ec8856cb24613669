export { createHostMapBackend, HostMapBackend, type HostMapBackendOptions } from './backend.ts';
export { HostMap, type HostMapOptions, type MapOutcome } from './host-map.ts';
export { HostMapPage, type PageContext } from './host-map-page.ts';
