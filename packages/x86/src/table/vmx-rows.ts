import { undefinedOpcode } from '../execute/interrupts.ts';
import { vmcall, vmxon, vmxPlain, vmxWithPointer, vmxWithRegister } from '../execute/vmx-instructions.ts';
import { always, type ExecutableRow, RowFlag, row } from '../table-row.ts';
import { Exit } from '../vm-exit.ts';

const ends = RowFlag.ENDS_BLOCK;

/** VMX instructions: in non-root operation they all exit, or are undefined. `operation` is the exit reason. */
export const vmxRows: readonly ExecutableRow[] = [
  row(0x101, '', 'vmcall', always(vmcall), { modrm: 0xc1, prefix: 0, flags: ends }),
  row(0x101, '', 'vmlaunch', always(vmxPlain), { modrm: 0xc2, prefix: 0, operation: Exit.VMLAUNCH, flags: ends }),
  row(0x101, '', 'vmresume', always(vmxPlain), { modrm: 0xc3, prefix: 0, operation: Exit.VMRESUME, flags: ends }),
  row(0x101, '', 'vmxoff', always(vmxPlain), { modrm: 0xc4, prefix: 0, operation: Exit.VMXOFF, flags: ends }),
  row(0x101, '', 'vmfunc', always(undefinedOpcode), { modrm: 0xd4, flags: ends }),
  row(0x1c7, 'M', 'vmxon', always(vmxon), { extension: 6, prefix: 0xf3, flags: ends }),
  row(0x1c7, 'M', 'vmclear', always(vmxWithPointer), {
    extension: 6,
    prefix: 0x66,
    operation: Exit.VMCLEAR,
    flags: ends,
  }),
  row(0x1c7, 'M', 'vmptrld', always(vmxWithPointer), {
    extension: 6,
    prefix: 0,
    operation: Exit.VMPTRLD,
    flags: ends,
  }),
  row(0x1c7, 'M', 'vmptrst', always(vmxWithPointer), {
    extension: 7,
    prefix: 0,
    operation: Exit.VMPTRST,
    flags: ends,
  }),
  row(0x178, 'Ey,Gy', 'vmread', always(vmxWithRegister), { prefix: 0, operation: Exit.VMREAD, flags: ends }),
  row(0x179, 'Gy,Ey', 'vmwrite', always(vmxWithRegister), { prefix: 0, operation: Exit.VMWRITE, flags: ends }),
  row(0x280, 'Gy,M', 'invept', always(vmxWithRegister), { prefix: 0x66, operation: Exit.INVEPT, flags: ends }),
  row(0x281, 'Gy,M', 'invvpid', always(vmxWithRegister), { prefix: 0x66, operation: Exit.INVVPID, flags: ends }),
];
