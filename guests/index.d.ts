/** Name of a built image: `guests/bin/NAME.elf`. */
export type ImageName = 'compare' | 'hello' | 'fail' | 'triple-fault' | 'unknown-instruction' | 'spin';

/** Every image, `compare` first. */
export declare const imageNames: readonly ImageName[];

/** Where each image is: a `file:` URL under Node, the address of an asset in a bundle. */
export declare const images: Readonly<Record<ImageName, URL>>;
