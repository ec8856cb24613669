import { type HousePackage, housePackages } from './repository.ts';

declare const data: readonly HousePackage[];

export { data };

export default {
  watch: ['../../../../packages/*/package.json'],
  load: housePackages,
};
