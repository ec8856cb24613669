export { bootArea, IMAGE_GPA_FIRST } from './boot-area.ts';
export { type ElfImage, type ElfSegment, type ImageBounds, parseElf } from './elf.ts';
export { initialState } from './initial-state.ts';
export { type AccessBytes, PortBus, type PortDevice, type PortRange } from './io-bus.ts';
export { createMachine, type Machine, type MachineOptions, type MachineOutcome } from './machine.ts';
export { Serial16550 } from './serial.ts';
export { debugExitPort, markerPort, reportPort } from './test-ports.ts';
export { X2Apic } from './x2apic.ts';
