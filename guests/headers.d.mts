/** Writes `vmx-tables.h` into a folder. */
export declare function writeHeader(folder: string): void;
