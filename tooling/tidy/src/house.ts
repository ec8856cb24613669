/** A text file as a rule sees it. `path` counts from the root of the repository and uses `/`. */
export interface TextFile {
  readonly path: string;
  readonly text: string;
}

/** The parts of a package.json that rules look at. */
export interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly private?: boolean;
  readonly description?: string;
  readonly license?: string;
  readonly type?: string;
  readonly sideEffects?: boolean;
  readonly main?: string;
  readonly module?: string;
  readonly packageManager?: string;
  readonly engines?: { readonly node?: string };
  readonly files?: readonly string[];
  readonly bin?: string | Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** One workspace package: `folder` is such as `packages/sync` or `guests`, `files` holds every text file below it. */
export interface Room {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly files: readonly TextFile[];
}

/** The repository, from a list of its text files: what every rule gets, be it the real house or a fixture. */
export interface House {
  readonly files: readonly TextFile[];
  readonly manifest: Manifest;
  readonly rooms: readonly Room[];
}

const roomManifest = /^((?:packages|apps|tooling)\/[^/]+|guests)\/package\.json$/;

/** Builds the house from its files. Throws SyntaxError when a package.json is no JSON. */
export function houseOf(files: readonly TextFile[]): House {
  const rooms = files.flatMap((file) => {
    const folder = roomManifest.exec(file.path)?.[1];
    return folder === undefined ? [] : [roomOf(folder, file, files)];
  });
  const root = files.find((file) => file.path === 'package.json');
  return { files, manifest: root === undefined ? {} : JSON.parse(root.text), rooms };
}

function roomOf(folder: string, manifest: TextFile, files: readonly TextFile[]): Room {
  return {
    folder,
    manifest: JSON.parse(manifest.text),
    files: files.filter((file) => file.path.startsWith(`${folder}/`)),
  };
}

/** The rooms that are published as libraries: everything in packages/. */
export function libraries(house: House): readonly Room[] {
  return house.rooms.filter((room) => room.folder.startsWith('packages/'));
}

/** The part of a path behind the folder of its room: `src/index.ts`. */
export function pathInRoom(room: Room, file: TextFile): string {
  return file.path.slice(room.folder.length + 1);
}

export function fileInRoom(room: Room, path: string): TextFile | undefined {
  return room.files.find((file) => file.path === `${room.folder}/${path}`);
}
