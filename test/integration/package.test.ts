/**
 * The package as npm makes it, in a folder that holds nothing else: installed without scripts, and used as the README and
 * `millrace init` say. On this node, and on those that MILLRACE_NODES names (paths with colons between them).
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { json, ROOT, results, scratch, start, until } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Packed and installed once. */
let home = ''
let tarball = ''
let main = ''
const NODES = [
  process.execPath,
  ...(process.env.MILLRACE_NODES ?? '').split(':').filter((path) => path !== ''),
]
const npmEnv = { ...process.env, npm_config_update_notifier: 'false', NO_COLOR: '1' }

function npm(words: readonly string[], cwd: string): string {
  return execFileSync('npm', [...words, '--no-audit', '--no-fund'], { cwd, encoding: 'utf8', env: npmEnv })
}

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'millrace-package-'))
  const packed = JSON.parse(npm(['pack', '--json', '--pack-destination', home], ROOT)) as {
    filename: string
  }[]
  tarball = join(home, packed[0]!.filename)
  mkdirSync(join(home, 'user'))
  writeFileSync(join(home, 'user/package.json'), '{"name":"user","private":true,"type":"module"}')
  npm(['install', '--prefer-offline', '--ignore-scripts', tarball], join(home, 'user'))
  main = join(home, 'user/node_modules/millrace/dist/main.js')
})

afterAll(() => {
  rmSync(home, { recursive: true, force: true })
})

function versionOf(node: string): string {
  return execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
}

function run(node: string, words: readonly string[], cwd: string) {
  return spawnSync(node, [main, ...words], { cwd, encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } })
}

test('npx millrace is there', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const out = execFileSync('npx', ['--no-install', 'millrace', '--version'], {
    cwd: join(home, 'user'),
    encoding: 'utf8',
    env: npmEnv,
  })
  expect(out.trim()).toBe(version)
})

test('it holds what runs, and neither tests nor benchmarks', () => {
  const listed = JSON.parse(npm(['pack', '--dry-run', '--json'], ROOT)) as { files: { path: string }[] }[]
  const paths = listed[0]!.files.map(({ path }) => path)
  expect(paths).toEqual(expect.arrayContaining(['README.md', 'LICENSE', 'CHANGELOG.md', 'examples/host.ts']))
  expect(
    paths.filter((path) => /dist\/(test|bench)\/|\.tsbuildinfo|(?<!starter\/pipeline)\.test\./.test(path)),
  ).toEqual([])
})

test('every link of its README and of its pages leads to something that is in it', () => {
  const listed = JSON.parse(npm(['pack', '--dry-run', '--json'], ROOT)) as { files: { path: string }[] }[]
  const packed = new Set(listed[0]!.files.map(({ path }) => path))
  const pages = [...packed].filter((path) => path.endsWith('.md'))
  expect(pages.length).toBeGreaterThan(20)
  const lost: string[] = []
  for (const page of pages) {
    for (const [, target] of readFileSync(join(ROOT, page), 'utf8').matchAll(
      /\]\(([^)\s#]+)(?:#[^)]*)?\)/g,
    )) {
      if (/^[a-z]+:/.test(target!)) continue
      const path = relative(ROOT, resolve(ROOT, dirname(page), target!))
      if (!packed.has(path) && ![...packed].some((file) => file.startsWith(`${path}/`))) {
        lost.push(`${page}: ${target}`)
      }
    }
  }
  expect(lost).toEqual([])
})

describe.each(NODES)('on %s', (node) => {
  const isOld = /^([0-9]|1[0-9])\./.test(versionOf(node))

  if (isOld) {
    test('too old: it says what is wanted, and nothing else', () => {
      const { status, stderr } = run(node, ['demo'], home)
      expect(status).toBe(1)
      expect(stderr).toMatch(/^millrace needs node 20\.19 or newer; this is \d+\.\d+\.\d+ /)
    })
    return
  }

  test('millrace demo finds results on this machine', async () => {
    const data = join(scratch(cleanups), 'data')
    const demo = await start(['demo', '--data', data], cleanups, main, { node })
    const rows = await until(async () => {
      const found = await results(demo.url, 'host-usage')
      return found.length > 0 ? found : null
    }, 60_000)
    expect(rows[0]!.group.__name__).toMatch(/^host_/)
    const status = run(node, ['status', '--json', '--url', demo.url], home)
    expect(JSON.parse(status.stdout)).toMatchObject({ url: demo.url, node: { dataDirectory: data } })
    expect(await demo.kill('SIGINT')).toBe(0)
  })

  test('a TypeScript pipeline of one’s own, over a file', () => {
    const dir = mkdtempSync(join(home, 'user/own-'))
    const pipeline = `import { mean, pipeline, stdout, threshold, topic, tumbling } from 'millrace'
enum Bound { Hot = 30 }
const name: string = 'rooms'
export default pipeline(name).from(topic('metrics')).window(tumbling('1m'), { mean: mean() })
  .detect('mean', threshold({ above: Bound.Hot })).to(stdout())\n`
    writeFileSync(join(dir, 'pipeline.ts'), pipeline)
    const rows = Array.from({ length: 10 }, (_, i) => `2026-01-01T00:0${i}:00Z,${i < 5 ? 20 : 35},attic`)
    writeFileSync(join(dir, 'data.csv'), `time,value,room\n${rows.join('\n')}\n`)
    const ran = run(
      node,
      ['run', 'pipeline.ts', 'data.csv', '--time', 'time', '--labels', 'room', '--data', 'd', '--port', '0'],
      dir,
    )
    expect(ran.stderr).toContain('10 samples')
    expect(ran.status).toBe(0)
    const alerts = ran.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { state: string; group: object })
    expect(alerts).toMatchObject([{ state: 'firing', group: { room: 'attic' } }])
  })
})

test('an old node is told so before anything is loaded', () => {
  const pretend =
    'data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"18.20.8"}})'
  const { status, stderr } = spawnSync(process.execPath, ['--import', pretend, main, 'demo'], {
    encoding: 'utf8',
  })
  expect(status).toBe(1)
  expect(stderr).toMatch(/^millrace needs node 20\.19 or newer; this is 18\.20\.8 /)
})

test('the examples run over the data that lies beside them, and tell what is in it', () => {
  const dir = mkdtempSync(join(home, 'user/examples-'))
  cpSync(join(home, 'user/node_modules/millrace/examples'), dir, { recursive: true })
  const over = (words: string): string => {
    const data = join(dir, `data-${words.length}`)
    const all = ['run', ...words.split(' '), '--time', 'time', '--port', '0', '--data', data]
    const ran = run(process.execPath, all, dir)
    expect(ran.status, ran.stderr).toBe(0)
    return ran.stderr
  }
  const sensors = over('sensors.ts data/sensors.ndjson --value celsius --labels freezer --name freezer')
  expect(sensors).toMatch(
    /freezers: 600 samples \(600 windowed, 0 filtered, 0 late\).* 1 alert fired, 1 resolved/,
  )
  const kept = readFileSync(join(dir, 'freezer-alerts.ndjson'), 'utf8')
  expect(kept).toContain('"detector":"too-warm","column":"mean","group":{"freezer":"north"}')
})

describe('millrace init', () => {
  test('the project it writes is checked, typed, tested and run as its README says', async () => {
    const dir = join(home, 'project')
    expect(run(process.execPath, ['init', 'project'], home).status).toBe(0)
    const manifest = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'))
    expect(manifest.dependencies.millrace).toMatch(/^\^\d/)
    // Not published where this runs: the tarball stands for the registry; what a user would install beside it is here already.
    manifest.dependencies.millrace = `file:${tarball}`
    manifest.devDependencies = {}
    writeFileSync(join(dir, 'package.json'), JSON.stringify(manifest))
    npm(['install', '--prefer-offline', '--ignore-scripts'], dir)
    for (const name of ['vitest', 'typescript', '@types/node']) {
      mkdirSync(join(dir, 'node_modules', name, '..'), { recursive: true })
      symlinkSync(join(ROOT, 'node_modules', name), join(dir, 'node_modules', name))
    }
    const types = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc'], {
      cwd: dir,
      encoding: 'utf8',
    })
    expect(types).toMatchObject({ status: 0, stdout: '' })
    const { VITEST: _, ...env } = process.env
    const tests = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run'], {
      cwd: dir,
      encoding: 'utf8',
      env: { ...env, NO_COLOR: '1' },
    })
    expect(tests.stdout + tests.stderr).toMatch(/Tests +2 passed/)
    expect(npm(['run', '--silent', 'check'], dir)).toContain('rooms')
    const own = join(dir, 'node_modules/millrace/dist/main.js')
    const node = await start(['run', 'pipeline.ts'], cleanups, own, { cwd: dir })
    const sent = await fetch(`${node.url}/write`, {
      method: 'POST',
      body: 'temperature,room=kitchen value=21.5',
    })
    expect(sent.status).toBe(204)
    await until(async () => {
      const { rows } = (await json(`${node.url}/api/v1/pipelines`)) as {
        rows: { name: string; ledger: { in: number } }[]
      }
      return rows[0]?.name === 'rooms' && rows[0].ledger.in === 1 ? true : null
    }, 30_000)
    expect(await node.kill('SIGTERM')).toBe(0)
  })
})

describe('the package, to those who judge packages', () => {
  test('publint has nothing to say', () => {
    const ran = spawnSync(
      process.execPath,
      [join(ROOT, 'node_modules/publint/src/cli.js'), 'run', '--strict', tarball],
      { cwd: ROOT, encoding: 'utf8', env: npmEnv },
    )
    expect(ran.stdout + ran.stderr).toContain('All good!')
    expect(ran.status).toBe(0)
  })

  test('the types are right for those who import it as a module', () => {
    const attw = join(ROOT, 'node_modules/@arethetypeswrong/cli/dist/index.js')
    const words = [attw, tarball, '--profile', 'esm-only', '--format', 'json']
    const ran = spawnSync(process.execPath, words, { cwd: ROOT, encoding: 'utf8', env: npmEnv })
    expect(ran.status, ran.stdout + ran.stderr).toBe(0)
  })
})
