/**
 * The reference pages, executed. docs/cli.md: every command line that stands in an indented block runs, in the page's order, in
 * one folder that holds the files it names. docs/http.md: every call is sent to a fresh node, and what is answered is what the
 * page shows. Only places and ports that a reader would choose are put in.
 */
import { execFile, execFileSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { MAIN, ROOT, type Running, scratch, start } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Indented blocks, without their indentation: four columns, or six below an item of a list. */
function blocksOf(markdown: string): string[] {
  const blocks: string[][] = []
  let inBlock = false
  for (const line of markdown.split('\n')) {
    const isCode = /^ {4,}\S/.test(line)
    if (isCode && inBlock) blocks.at(-1)!.push(line.trim())
    else if (isCode) blocks.push([line.trim()])
    inBlock = isCode
  }
  return blocks.map((block) => block.join('\n').replaceAll('\\\n', ''))
}

function page(name: string): string {
  return readFileSync(join(ROOT, 'docs', name), 'utf8')
}

const PIPELINE = `import { ewma, mean, pipeline, topic, tumbling, webhook } from 'millrace'
export default pipeline('checkout-latency').from(topic('metrics', { partitionBy: ['host'] })).groupBy('host')
  .window(tumbling('1m'), { mean: mean() }).detect('mean', ewma()).to(webhook({ url: 'URL' }))
`

describe('docs/cli.md', () => {
  /** Commands that the overview lists, and `--help` too. */
  const blocks = blocksOf(page('cli.md'))
  const [overview, ...others] = blocks
  const written = others.flatMap((block) =>
    block.split('\n').filter((line) => /^(millrace|source) /.test(line)),
  )

  test('lists the commands that there are', () => {
    const listed = overview!.split('\n').map((line) => /^millrace (\S+)/.exec(line)![1]!)
    const help = execFileSync(process.execPath, [MAIN, '--help'], { encoding: 'utf8' })
    const known = [...help.split('EXAMPLES')[0]!.matchAll(/^ {2}millrace ([a-z]+)\b/gm)].map(
      ([, name]) => name!,
    )
    expect(listed.toSorted()).toEqual([...new Set(known)].toSorted())
  })

  test('every command line does what it says', { timeout: 180_000 }, async () => {
    const dir = scratch(cleanups)
    const receiver = await listener()
    const module = PIPELINE.replace('URL', receiver.url)
    mkdirSync(join(dir, 'node_modules'))
    symlinkSync(ROOT, join(dir, 'node_modules/millrace'))
    writeFileSync(join(dir, 'pipeline.ts'), module)
    writeFileSync(join(dir, 'changed.ts'), module.replace("'1m'", "'2m'"))
    writeFileSync(join(dir, 'data.csv'), csvOf('a'))
    writeFileSync(join(dir, 'more.ndjson'), ndjsonOf('b'))
    writeFileSync(join(dir, 'incidents.csv'), 'from,to,host\n2023-11-14T22:15:00Z,2023-11-14T22:16:00Z,a\n')
    mkdirSync(join(dir, 'backups'))
    const bin = join(dir, '.bin')
    mkdirSync(bin)
    const millrace = join(bin, 'millrace')
    // Words for a terminal: `top` needs one, and is driven in one elsewhere (top.test.ts).
    writeFileSync(millrace, `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`)
    chmodSync(millrace, 0o755)
    const env: NodeJS.ProcessEnv = { ...process.env, PATH: `${bin}:${process.env.PATH}`, NO_COLOR: '1' }
    let node: Running | null = null
    expect(written.length).toBeGreaterThanOrEqual(14)
    for (const line of written) {
      const command = line.replace(/ +#.*$/, '')
      if (/^millrace (status|top|alerts)/.test(command) && node === null) {
        node = await start(['run', 'pipeline.ts'], cleanups, MAIN, { cwd: dir })
        env.MILLRACE_PORT = new URL(node.url).port
      }
      if (/^millrace (verify|reset)/.test(command) && node !== null) {
        expect(await node.kill('SIGTERM')).toBe(0)
        node = null
        env.MILLRACE_PORT = '0'
        cpSync(join(dir, 'millrace-data'), join(dir, 'old'), { recursive: true })
      }
      const done = await bash(scriptOf(command, dir), dir, env)
      const what = `${command}\n${done.stdout}${done.stderr}`
      expect(done.status, what).toBe(command === 'millrace top' ? 2 : 0)
    }
    expect(existsSync(join(dir, 'my-alerts/pipeline.ts'))).toBe(true)
    expect(receiver.bodies.some((body) => body.includes('"test":true'))).toBe(true)
    expect(existsSync(join(dir, 'backups/monday/backup.json'))).toBe(true)
    expect(existsSync(join(dir, 'yesterday/results.ndjson'))).toBe(true)
    expect(existsSync(join(dir, 'old/log'))).toBe(false)
  })

  function scriptOf(command: string, dir: string): string {
    const script = command
      .replaceAll('/backups/', `${dir}/backups/`)
      .replaceAll('/var/lib/millrace', `${dir}/millrace-data`)
      .replaceAll('--port 8428', '--port 0')
      // What npm does with the project is package.test.ts.
      .replace(/ && npm install.*/, '')
    return script.startsWith('millrace reset') ? `${script} --yes` : script
  }
})

interface Done {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Beside this process, which answers as the webhook's target. */
function bash(script: string, cwd: string, env: NodeJS.ProcessEnv): Promise<Done> {
  return new Promise((resolve) => {
    execFile('bash', ['-euo', 'pipefail', '-c', script], { cwd, env }, (error, stdout, stderr) => {
      const status = error === null ? 0 : Number(error.code ?? -1)
      resolve({ status, stdout, stderr })
    })
  })
}

const START_MS = 1_700_000_000_000
const ROWS = 300

function csvOf(host: string): string {
  const rows = Array.from({ length: ROWS }, (_, i) => `${START_MS + i * 1_000},${host},eu,${i % 7},${i % 5}`)
  return `ts,host,region,cpu,mem\n${rows.join('\n')}\n`
}

function ndjsonOf(host: string): string {
  const rows = Array.from({ length: ROWS }, (_, i) =>
    JSON.stringify({ ts: START_MS + i * 1_000, host, region: 'us', cpu: i % 7, mem: i % 5 }),
  )
  return `${rows.join('\n')}\n`
}

async function listener(): Promise<{ url: string; bodies: string[] }> {
  const bodies: string[] = []
  const server: Server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    request.on('end', () => {
      bodies.push(body)
      response.writeHead(204).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, bodies }
}

describe('docs/http.md', () => {
  test('every call is answered as the page shows', { timeout: 60_000 }, async () => {
    const dir = scratch(cleanups)
    const module = PIPELINE.replace('URL', (await listener()).url)
    mkdirSync(join(dir, 'node_modules'))
    symlinkSync(ROOT, join(dir, 'node_modules/millrace'))
    writeFileSync(join(dir, 'pipeline.ts'), module)
    const node = await start(['run', 'pipeline.ts'], cleanups, MAIN, { cwd: dir })
    const blocks = blocksOf(page('http.md'))
    const calls = blocks.filter((block) => block.startsWith('curl '))
    expect(calls.length).toBeGreaterThanOrEqual(3)
    let call = ''
    for (const block of blocks) {
      if (block.startsWith('curl ')) {
        call = block.replaceAll('http://127.0.0.1:8428', node.url)
        expect(call).toContain(node.url)
        continue
      }
      // Each answer shown is that of a call; a second answer below one call is the answer to sending it again.
      const sent = await bash(`curl -s ${call.slice('curl '.length)}`, dir, process.env)
      expect(sent.status, sent.stderr).toBe(0)
      for (const line of block.split('\n')) expect(placeless(sent.stdout), call).toContain(placeless(line))
    }
  })

  /** Partition and offset are the node's to choose. */
  function placeless(text: string): string {
    return text.replaceAll(/metrics\/\d+:\d+/g, 'metrics/P:N').replaceAll('\r', '')
  }
})
