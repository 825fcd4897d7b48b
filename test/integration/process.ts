/** Runs the built command line as a user does: a process of its own, a free port, a directory of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '../..')
export const MAIN = join(ROOT, 'dist/main.js')
const START_MS_MAX = 30_000

export interface Running {
  readonly url: string
  readonly child: ChildProcess
  /** Everything it has printed. */
  text(): string
  /** Resolves with the exit code, or the signal's name. */
  readonly exited: Promise<number | string>
  kill(signal: NodeJS.Signals): Promise<number | string>
}

/** A directory that `cleanup` removes. Inside the project, so that pipelines there can import 'millrace'. */
export function scratch(cleanups: (() => unknown)[]): string {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-test-'))
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Writes a pipeline module; `body` uses what it imports from the built package. */
export function writePipeline(dir: string, body: string, name = 'pipeline.mjs'): string {
  const file = join(dir, name)
  const names =
    'pipeline, topic, tumbling, sliding, mean, count, sum, max, ewma, threshold, silence, ndjsonFile, webhook, alertmanager, scoresTo, stdout'
  writeFileSync(file, `import { ${names} } from ${JSON.stringify(join(ROOT, 'dist/index.js'))}\n${body}\n`)
  return file
}

/** Another version of node, another working directory. */
export interface Where {
  readonly node?: string
  readonly cwd?: string
}

export function launch(
  args: readonly string[],
  cleanups: (() => unknown)[],
  stdin?: string,
  main = MAIN,
  { node = process.execPath, cwd }: Where = {},
): Omit<Running, 'url'> {
  const child = spawn(node, [main, ...args], {
    stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
    ...(cwd === undefined ? {} : { cwd }),
  })
  if (stdin !== undefined) child.stdin?.end(stdin)
  let text = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  child.stderr?.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  const exited = new Promise<number | string>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'))
  })
  const kill = (signal: NodeJS.Signals): Promise<number | string> => {
    child.kill(signal)
    return exited
  }
  cleanups.push(() => kill('SIGKILL'))
  return { child, text: () => text, exited, kill }
}

export async function start(
  args: readonly string[],
  cleanups: (() => unknown)[],
  main = MAIN,
  where: Where = {},
): Promise<Running> {
  const running = launch([...args, '--port', '0'], cleanups, undefined, main, where)
  const url = await until(async () => {
    const found = /http:\/\/127\.0\.0\.1:\d+/.exec(running.text())?.[0]
    if (found !== undefined) return found
    const ended = running.child.exitCode ?? running.child.signalCode
    if (ended !== null) throw new Error(`it ended with ${ended}: ${running.text()}`)
    return null
  }, START_MS_MAX)
  return { ...running, url }
}

/** The first answer that is not null; fails with the last error after `timeoutMs`. */
export async function until<T>(ask: () => Promise<T | null>, timeoutMs = 20_000): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer !== null) return answer
    if (performance.now() > deadline) throw new Error(`nothing within ${timeoutMs} ms: ${ask.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export async function write(url: string, body: string, parameters = 'precision=ms'): Promise<Response> {
  return await fetch(`${url}/write?${parameters}`, { method: 'POST', body })
}

export interface Row {
  readonly id: string
  readonly group: Record<string, string>
  readonly windowEndMs: number
  readonly values: Record<string, number | null>
  readonly scores: Record<string, unknown>
}

/** All committed results of a pipeline, over all pages. */
export async function results(url: string, pipeline: string): Promise<Row[]> {
  const rows: Row[] = []
  let cursor: string | null = null
  do {
    const page: { rows: Row[]; cursor: string | null } = await json(
      `${url}/api/v1/results?pipeline=${pipeline}&limit=10000${cursor === null ? '' : `&cursor=${cursor}`}`,
    )
    rows.push(...page.rows)
    cursor = page.rows.length === 0 ? null : page.cursor
  } while (cursor !== null)
  return rows
}

export async function json<T>(url: string): Promise<T> {
  const answer = await fetch(url)
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`)
  return (await answer.json()) as T
}

/** A port of this machine that nobody listens on now. */
export async function freePort(): Promise<number> {
  return await new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
