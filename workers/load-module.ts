/**
 * Loads a module that a person wrote: TypeScript through jiti, on every version of node alike, JavaScript by node itself.
 * `import 'millrace'` in it resolves from where the module lies: the user's project, or this package by its own name.
 * Whatever goes wrong is one fault with a place. Used for pipelines, on every thread that runs them, and for the
 * configuration file.
 */
import { readdirSync, statSync } from 'node:fs'
import { basename, dirname, extname, isAbsolute, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { nearest } from '../engine/config/did-you-mean.ts'
import type { Fault } from '../engine/contract/errors.ts'

export const MODULE_EXTENSIONS = ['.ts', '.mts', '.js', '.mjs'] as const
const TYPESCRIPT = new Set(['.ts', '.mts'])

export type LoadedModule =
  | { readonly value: unknown; readonly fault: null }
  | { readonly value: undefined; readonly fault: Fault }

/** The default export of the module at `file` (seen from `cwd`). `what`: `pipeline(…)…`, for the remedy. */
export async function loadDefault(file: string, cwd: string, what: string): Promise<LoadedModule> {
  const path = resolve(cwd, file)
  const missing = missingFault(file, path)
  if (missing !== null) return { value: undefined, fault: missing }
  let module: unknown
  try {
    module = await importModule(path)
  } catch (error) {
    return { value: undefined, fault: thrownFault(file, path, cwd, error) }
  }
  if (typeof module === 'object' && module !== null && 'default' in module && module.default !== undefined) {
    return { value: module.default, fault: null }
  }
  const names = Object.keys(module as object).filter((name) => name !== 'default')
  return {
    value: undefined,
    fault: {
      place: file,
      value: names.length === 0 ? undefined : names,
      problem: names.length === 0 ? 'exports nothing' : 'has no default export, only names',
      remedy: `Write: export default ${names.length === 1 ? names[0] : what}.`,
    },
  }
}

async function importModule(path: string): Promise<unknown> {
  const url = pathToFileURL(path).href
  if (!TYPESCRIPT.has(extname(path))) return import(url)
  const { createJiti } = await import('jiti')
  // Without the interop, a default export is found where it was written, and nowhere else.
  const jiti = createJiti(url, { interopDefault: false, moduleCache: false })
  return jiti.import(url)
}

function missingFault(file: string, path: string): Fault | null {
  const known: readonly string[] = MODULE_EXTENSIONS
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) {
    const near = nearest(basename(path), siblings(path))
    const guess = near === null ? '' : ` Did you mean "${near}"?`
    return {
      place: file,
      value: path,
      problem: 'there is no such file',
      remedy: `Name a ${known.join(', ')} file.${guess}`,
    }
  }
  if (!stat.isFile() || !known.includes(extname(path))) {
    return { place: file, value: path, problem: 'is no module', remedy: `Name a ${known.join(', ')} file.` }
  }
  return null
}

function siblings(path: string): string[] {
  try {
    return readdirSync(dirname(path))
  } catch {
    return []
  }
}

function thrownFault(file: string, path: string, cwd: string, error: unknown): Fault {
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const place = placeIn(path, file, cwd, error)
  if (/'millrace'|"millrace"/.test(message) && /not.?found|cannot find/i.test(`${code} ${message}`)) {
    const directory = relative(cwd, dirname(path))
    return {
      place: file,
      value: 'millrace',
      problem: 'the package is not installed where this file is',
      remedy: `Run "npm install millrace" ${directory === '' ? 'here' : `in ${directory}`}.`,
    }
  }
  const name = error instanceof Error ? error.name : 'a value'
  return {
    place,
    value: message.split('\n').find((line) => line.trim() !== '') ?? message,
    problem: /SyntaxError|ParseError/.test(name) ? 'cannot be read' : `throws ${name} when it is loaded`,
    remedy: 'Correct the file; loading it must neither fail nor start anything.',
  }
}

/** `pipeline.ts:12:5` where the stack knows it. */
function placeIn(path: string, file: string, cwd: string, error: unknown): string {
  const text = error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : ''
  for (const match of text.matchAll(/((?:file:\/\/)?\/[^\s():]+?\.[mc]?[jt]s):(\d+)(?::(\d+))?/g)) {
    const found = match[1]!.startsWith('file:') ? fileURLToPath(match[1]!) : match[1]!
    if (found.includes('node_modules')) continue
    const at = found === path ? file : relative(cwd, found)
    if (found !== path && (isAbsolute(at) || at.startsWith('..'))) continue
    return `${at}:${match[2]}${match[3] === undefined ? '' : `:${match[3]}`}`
  }
  return file
}
