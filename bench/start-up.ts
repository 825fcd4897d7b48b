/**
 * From `node main.js demo` to what a person waits for, in fresh processes on a new data directory: engineMs, until the node
 * says where it listens; firstPageMs, until the page and everything it names have come from there; restartMs, the same as
 * engineMs on the directory of the run before. `npx` adds what npm takes to find an installed package.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { assert } from '../engine/util/assert.ts'
import type { BenchModule } from './lib/bench.ts'
import { median } from './lib/measure.ts'
import { openScratch } from './lib/scratch.ts'

const MAIN = join(import.meta.dirname, '../main.js')
const ROUNDS = 7

export const bench: BenchModule = {
  name: 'start-up',
  figures: ['engineMs', 'firstPageMs', 'restartMs'],
  async run({ smoke }) {
    const rounds = smoke ? 1 : ROUNDS
    const engine: number[] = []
    const page: number[] = []
    const restart: number[] = []
    let files = 0
    for (let round = 0; round < rounds; round++) {
      const scratch = openScratch('start-up')
      try {
        const first = await start(scratch.path)
        engine.push(first.engineMs)
        page.push(first.pageMs)
        files = first.files
        restart.push((await start(scratch.path)).engineMs)
      } finally {
        scratch.remove()
      }
    }
    const figure = (name: string, values: readonly number[]) => ({
      figure: name,
      value: median(values),
      unit: 'ms',
      params: { rounds, command: 'demo', files },
      checksum: `${files} files`,
    })
    return [figure('engineMs', engine), figure('firstPageMs', page), figure('restartMs', restart)]
  },
}

async function start(dir: string): Promise<{ engineMs: number; pageMs: number; files: number }> {
  const startedMs = performance.now()
  const child = spawn(process.execPath, [MAIN, 'demo', '--data', dir, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  })
  try {
    const url = await listening(child)
    const engineMs = performance.now() - startedMs
    const files = await loadPage(url)
    return { engineMs, pageMs: performance.now() - startedMs, files }
  } finally {
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'exit')
  }
}

/** Where it listens, as soon as it says so. */
function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = ''
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        said += String(chunk)
        const url = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0]
        if (url !== undefined) resolve(url)
      })
    }
    child.once('exit', () => reject(new Error(`the node ended: ${said}`)))
  })
}

/** The page and what it names, as a browser fetches them. Returns how many files there were. */
async function loadPage(url: string): Promise<number> {
  const html = await text(`${url}/`)
  const names = [...html.matchAll(/(?:src|href)="(\/live[^"]*)"/g)].map(([, path]) => path!)
  assert(names.length > 0, 'the page has scripts and styles of its own')
  await Promise.all(names.map((path) => text(`${url}${path}`)))
  return names.length + 1
}

async function text(url: string): Promise<string> {
  const answer = await fetch(url)
  assert(answer.ok, 'the page is served', url, answer.status)
  return answer.text()
}
