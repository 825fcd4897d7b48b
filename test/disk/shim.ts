/** Builds shim.c with the machine's C compiler, and runs node processes under it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const HERE = import.meta.dirname
const COMPILERS = ['cc', 'gcc', 'clang']

/** Null: this machine has none, or it is no Linux; tests that need one say so and are skipped. */
export const compiler = process.platform === 'linux' ? findCompiler() : null

function findCompiler(): string | null {
  for (const name of COMPILERS) {
    try {
      execFileSync(name, ['--version'], { stdio: 'ignore' })
      return name
    } catch {
      // The next one.
    }
  }
  return null
}

/** In memory where there is such a place: thousands of images are written, and none has to survive. */
export function scratchDirectory(cleanups: (() => unknown)[]): string {
  const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  const dir = mkdtempSync(join(parent, 'millrace-disk-'))
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export function buildShim(dir: string): string {
  const library = join(dir, 'shim.so')
  const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC']
  execFileSync(compiler!, [...flags, '-o', library, join(HERE, 'shim.c'), '-ldl', '-lpthread'])
  return library
}

export interface ShimEnvironment {
  readonly library: string
  readonly root: string
  readonly record?: string
}

/** `script` is a file of this directory. */
export function spawnScript(script: string, args: readonly string[], shim?: ShimEnvironment): ChildProcess {
  const env = { ...process.env, UV_USE_IO_URING: '0' }
  if (shim !== undefined) {
    Object.assign(env, { LD_PRELOAD: shim.library, MILLRACE_DISK_ROOT: shim.root })
    if (shim.record !== undefined) Object.assign(env, { MILLRACE_DISK_RECORD: shim.record })
  }
  return spawn(process.execPath, [join(HERE, script), ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] })
}

/** Asks a script line by line; a process that dies is an answer, and the next question gets a new one. */
export class Asker<Question, Answer> {
  readonly #start: () => ChildProcess
  #child: ChildProcess | null = null
  #lines: AsyncIterator<string> | null = null
  #errors = ''
  #last: Promise<unknown> = Promise.resolve()

  constructor(start: () => ChildProcess) {
    this.#start = start
  }

  /** The answer, or how the process ended without one. Questions wait for each other. */
  ask(question: Question): Promise<Answer | { readonly died: string }> {
    const answer = this.#last.then(() => this.#ask(question))
    this.#last = answer.catch(() => {})
    return answer
  }

  async #ask(question: Question): Promise<Answer | { readonly died: string }> {
    const child = this.#child ?? this.#begin()
    child.stdin!.write(`${JSON.stringify(question)}\n`)
    const { value, done } = await this.#lines!.next()
    if (done !== true) return JSON.parse(value) as Answer
    this.#child = null
    const how = await exitOf(child)
    return { died: `${how}: ${this.#errors.slice(-400)}` }
  }

  async end(): Promise<void> {
    const child = this.#child
    if (child === null) return
    this.#child = null
    child.stdin!.end()
    await exitOf(child)
  }

  #begin(): ChildProcess {
    const child = this.#start()
    this.#child = child
    this.#errors = ''
    child.stdin!.on('error', () => {})
    child.stderr!.on('data', (text: Buffer) => {
      this.#errors += text.toString()
    })
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    return child
  }
}

export async function exitOf(child: ChildProcess): Promise<string> {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => child.once('exit', resolve))
  }
  return String(child.signalCode ?? child.exitCode)
}
