import { type FieldRow, fieldRows } from '@nvmx/vmx-fields';

declare const data: readonly FieldRow[];

export { data };

export default {
  load: (): readonly FieldRow[] => fieldRows,
};
