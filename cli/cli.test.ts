import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MillraceError } from '../engine/contract/errors.ts'
import type { Node, RunSummary } from '../engine/contract/node.ts'
import type { Queries } from '../engine/contract/queries.ts'
import { seriesText } from '../engine/series/series-key.ts'
import { SeriesTable } from '../engine/series/series-table.ts'
import { openStateWriter } from '../engine/store/state-store.ts'
import { openStore } from '../engine/store/store.ts'
import { systemClock } from '../engine/util/clock.ts'
import { registry } from '../operators/registry.ts'
import { dispatch } from './dispatch.ts'
import type { Shell, StartOptions, StopSignal } from './shell.ts'

let dir = ''

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-cli-'))
  // A project that installed the package: here, its sources.
  file('package.json', '{"type":"module"}')
  file('node_modules/millrace/package.json', '{"name":"installed","type":"module","exports":"./index.ts"}')
  file('node_modules/millrace/index.ts', `export * from ${JSON.stringify(resolve('index.ts'))}\n`)
})

afterEach(() => {
  rmSync(dir, { recursive: true, force: true })
})

function file(name: string, text: string): void {
  mkdirSync(dirname(join(dir, name)), { recursive: true })
  writeFileSync(join(dir, name), text)
}

const PIPELINE = `import { ewma, mean, pipeline, topic, tumbling } from 'millrace'
const name: string = 'cpu'
export default pipeline(name).from(topic('metrics')).window(tumbling('1m'), { mean: mean() }).detect('mean', ewma())
`

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
  /** `series time value`, in the order in which the node took them. */
  readonly samples: readonly string[]
  readonly started: readonly StartOptions[]
  readonly closed: number
}

interface World {
  readonly stdin?: readonly string[]
  /** Somebody is at the keyboard. */
  readonly isTerminal?: boolean
  /** stdin stays open after its last chunk. */
  readonly stdinStays?: boolean
  readonly stopAfterMs?: number
  readonly fatalAfterMs?: number
  readonly env?: Readonly<Record<string, string>>
  readonly seriesLimit?: number
}

async function millrace(words: string, world: World = {}): Promise<Ran> {
  let out = ''
  let err = ''
  let closed = 0
  const samples: string[] = []
  const started: StartOptions[] = []
  const table = new SeriesTable({ limit: world.seriesLimit ?? 1_000 })
  const node: Node = {
    address: 'http://127.0.0.1:1',
    queries: { alerts: () => Promise.resolve([]) } as unknown as Queries,
    input: () => ({
      table,
      append(builder) {
        for (let i = 0; i < builder.count; i++) {
          const series = seriesText(table.labelsOf(builder.seriesIds[i]!))
          samples.push(`${series} ${builder.timestampsMs[i]} ${builder.values[i]}`)
        }
        return Promise.resolve({ samples: builder.count, refusedSamples: 0, durable: true })
      },
    }),
    disturb: () => ({ seconds: 8, threads: 4, untilMs: 0, started: true }),
    finish: () => Promise.resolve(summaryOf(samples.length)),
    close: () => {
      closed++
      return Promise.resolve()
    },
  }
  const shell: Shell = {
    cwd: dir,
    env: world.env ?? {},
    clock: systemClock,
    out: (text) => {
      out += text
    },
    err: (text) => {
      err += text
    },
    errIsTerminal: false,
    stdin: chunks(world),
    stdinIsTerminal: world.isTerminal === true,
    stopped: new Promise<StopSignal>((stop) => {
      if (world.stopAfterMs !== undefined) setTimeout(() => stop('SIGINT'), world.stopAfterMs)
    }),
    startNode: (options) => {
      started.push(options)
      if (world.fatalAfterMs !== undefined) {
        const error = new MillraceError('STORE_IO', 'the disk is full')
        setTimeout(() => options.onFatal(error), world.fatalAfterMs)
      }
      return Promise.resolve(node)
    },
    registry: () => Promise.resolve(registry),
  }
  const code = await dispatch(
    words.split(' ').filter((word) => word !== ''),
    shell,
  )
  return { code, out, err, samples, started, closed }
}

/** Paths that this process holds open, where the system tells. */
function openFiles(): string[] {
  if (!existsSync('/proc/self/fd')) return []
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      // Closed meanwhile, as the one that lists them is.
      return []
    }
  })
}

async function* chunks(world: World): AsyncGenerator<Uint8Array> {
  for (const text of world.stdin ?? []) yield new TextEncoder().encode(text)
  if (world.stdinStays === true) await new Promise(() => {})
}

function summaryOf(samples: number): RunSummary {
  const none = { filtered: 0, late: 0, nonFinite: 0, dead: 0, alertsFiring: 1, alertsResolved: 0 }
  return { pipelines: [{ name: 'cpu', samples, windowed: samples, results: 2, ...none }], elapsedMs: 1 }
}

describe('millrace', () => {
  test('without a command shows what there is, and is a usage error', async () => {
    const { code, err } = await millrace('')
    expect(code).toBe(2)
    expect(err).toContain('millrace run PIPELINE... [DATA...]')
  })

  test.each(['--help', '-h', 'help'])('%s is no error', async (word) => {
    const { code, out, err } = await millrace(word)
    expect([code, err]).toEqual([0, ''])
    expect(out).toContain('Exit codes')
  })

  test('--version is the version', async () => {
    expect((await millrace('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  test.each([
    ['rnu', 'Did you mean "run"?'],
    ['--port', 'there is no flag before the command "--port"'],
    ['run --prot 8 x.ts', '--prot: is no known flag (got "--prot"). Did you mean --port?'],
    ['run', 'no pipeline is named'],
    ['run data.csv', 'no pipeline is named'],
    ['check', 'no pipeline is named'],
    ['demo x', 'is not expected'],
    ['reset x', 'is not expected'],
    ['verify --data nowhere', 'there is no such directory'],
    ['verfy', 'Did you mean "verify"?'],
    ['backup', 'name one directory'],
    ['restore', 'name one backup'],
    ['reset', 'either --pipeline NAME or --all'],
    ['reset --all --pipeline x', 'either --pipeline NAME or --all'],
    ['replay', 'no pipeline is named'],
    ['replay p.ts --form -1h', 'Did you mean --from?'],
  ])('%j is a usage error', async (words, message) => {
    const { code, err, started } = await millrace(words)
    expect([code, started]).toEqual([2, []])
    expect(err).toContain(message)
  })

  test.each(['run --help', 'help run', 'check -h', 'demo --help'])(
    '%s lists flags and examples',
    async (words) => {
      const { code, out } = await millrace(words)
      expect(code).toBe(0)
      expect(out).toContain('--retention-age=<duration>')
      expect(out).toContain('EXAMPLES')
      expect(out).not.toContain('\u001b')
    },
  )
})

describe('millrace check', () => {
  test('prints what a valid pipeline does', async () => {
    file('p.ts', PIPELINE)
    const { code, out, started } = await millrace('check p.ts --partitions 4')
    expect([code, started]).toEqual([0, []])
    expect(out).toContain('from      topic metrics, 4 partitions by series\n')
    expect(out).toContain('detect    mean-ewma: ewma of mean')
  })

  test('prints plans as JSON', async () => {
    file('p.ts', PIPELINE)
    const { out } = await millrace('check p.ts --json')
    expect(JSON.parse(out)).toMatchObject({ ok: true, plans: [{ name: 'cpu', window: { sizeMs: 60_000 } }] })
  })

  test('prints all faults of all files, one a line', async () => {
    file('a.ts', PIPELINE.replace('1m', '1x').replace('ewma()', 'ewma({ treshold: 3 })'))
    file('b.ts', 'export const pipe = 5\n')
    const { code, out, err } = await millrace('check a.ts b.ts c.ts')
    expect([code, out]).toEqual([1, ''])
    const lines = err.trimEnd().split('\n')
    expect(lines).toHaveLength(4)
    expect(lines[0]).toContain('a.ts: cpu.window.size')
    expect(lines[1]).toContain('Did you mean "threshold"?')
    expect(lines[2]).toBe(
      'b.ts: has no default export, only names (got ["pipe"]). Write: export default pipe.',
    )
    expect(lines[3]).toContain('c.ts: there is no such file')
    const { out: json } = await millrace('check b.ts --json')
    expect(JSON.parse(json)).toMatchObject({ ok: false, faults: [{ place: 'b.ts', value: ['pipe'] }] })
  })

  test('one name in two files is a fault', async () => {
    file('a.ts', PIPELINE)
    file('b.ts', PIPELINE)
    expect((await millrace('check a.ts b.ts')).err).toContain('names two pipelines')
  })

  test.each([
    [
      'throws.ts',
      'const a = 1\nthrow new Error("no database")\n',
      'throws Error when it is loaded (got "no database")',
    ],
    ['syntax.ts', 'export default {{\n', 'syntax.ts'],
    ['missing.ts', 'import x from "./nowhere.ts"\nexport default x\n', 'nowhere.ts'],
    [
      'plain.mjs',
      'throw new TypeError("bad")\n',
      'plain.mjs:1:7: throws TypeError when it is loaded (got "bad")',
    ],
    ['nothing.mjs', 'const a = 1\n', 'nothing.mjs: exports nothing'],
    ['notes.txt', 'hello', 'notes.txt: is no module'],
    ['number.ts', 'export default 5\n', 'is not a pipeline'],
  ])('%s is a fault with its place', async (name, text, message) => {
    file(name, text)
    const { code, err } = await millrace(`check ${name}`)
    expect(code).toBe(1)
    expect(err).toContain(name)
    expect(err).toContain(message)
    expect(err.trimEnd().split('\n')).toHaveLength(1)
  })

  test('a package that is not installed is said as that', async () => {
    rmSync(join(dir, 'node_modules'), { recursive: true })
    file('p.ts', PIPELINE)
    expect((await millrace('check p.ts')).err).toContain('Run "npm install millrace" here.')
  })

  test('a file nearly of that name is suggested', async () => {
    file('pipeline.ts', PIPELINE)
    expect((await millrace('check pipelin.ts')).err).toContain('Did you mean "pipeline.ts"?')
  })
})

describe('configuration', () => {
  test('flags beat the environment, which beats the file found in the directory', async () => {
    file('p.ts', PIPELINE)
    file(
      'millrace.config.ts',
      "import { defineConfig } from 'millrace'\nexport default defineConfig({ port: 1, data: 'f', partitions: 3 })\n",
    )
    const { started } = await millrace('run p.ts --port 3', {
      env: { MILLRACE_PORT: '2', MILLRACE_DATA: 'e' },
      stopAfterMs: 0,
    })
    expect(started[0]!.config).toMatchObject({ port: 3, data: 'e', partitions: 3 })
  })

  test('a named file that is not there is a fault', async () => {
    file('p.ts', PIPELINE)
    const { code, err } = await millrace('run p.ts --config other.ts')
    expect(code).toBe(1)
    expect(err).toContain('other.ts: there is no such file')
  })

  test('faults name flag, variable and file', async () => {
    file('p.ts', PIPELINE)
    file('millrace.config.mjs', 'export default { prot: 1 }\n')
    const { err } = await millrace('run p.ts --shards none', { env: { MILLRACE_PORT: 'x' } })
    expect(err).toContain('--shards')
    expect(err).toContain('MILLRACE_PORT')
    expect(err).toContain('millrace.config.mjs: prot')
  })
})

describe('millrace run', () => {
  test('listens until it is stopped, and that is success', async () => {
    file('p.ts', PIPELINE)
    const { code, err, started, closed } = await millrace('run p.ts --reset-state', { stopAfterMs: 20 })
    expect([code, closed]).toEqual([0, 1])
    expect(started[0]).toMatchObject({ resetState: true, pipelines: [{ name: 'cpu' }] })
    expect(err).toContain('listens on http://127.0.0.1:1 and runs cpu')
  })

  test('several files are merged by time and named by their stem; the run ends with a summary', async () => {
    file('p.ts', PIPELINE)
    file('cpu.csv', 'ts,host,v\n1400000000,a,1\n1400000002,a,x\n1400000004,a,3\n')
    file('mem.ndjson', '{"ts":1400000001,"host":"b","v":7}\n{"ts":1400000005,"host":"b","v":null}\n')
    const ran = await millrace('run p.ts cpu.csv mem.ndjson --time ts --value v --labels host')
    expect(ran.samples).toEqual([
      'cpu_v{host="a"} 1400000000000 1',
      'mem_v{host="b"} 1400000001000 7',
      'cpu_v{host="a"} 1400000004000 3',
    ])
    expect([ran.code, ran.out, ran.closed]).toEqual([0, '', 1])
    expect(ran.err).toContain('cpu.csv: 4 lines, 2 samples, 1 bad line\n')
    expect(ran.err).toContain('cpu.csv:3: v "x" is not a number: 1400000002,a,x\n')
    expect(ran.err).toContain('mem.ndjson: 2 lines, 1 sample, 1 empty value\n')
    expect(ran.err).toContain(
      'cpu: 3 samples (3 windowed, 0 filtered, 0 late), 2 results, 1 alert fired, 0 resolved',
    )
  })

  test('stdin is read in its format, in chunks cut anywhere', async () => {
    file('p.ts', PIPELINE)
    const { code, samples } = await millrace(
      'run p.ts - --format csv --delimiter ; --header timestamp,value --name m',
      {
        stdin: ['140000', '0000;1\n14000000', '01;2'],
      },
    )
    expect(code).toBe(0)
    expect(samples).toEqual(['m 1400000000000 1', 'm 1400000001000 2'])
  })

  test('every format is read packed as it is plain, whole or in members, and line protocol by its own names', async () => {
    file('p.ts', PIPELINE)
    const rows = (line: (i: number) => string): string =>
      Array.from({ length: 3_000 }, (_, i) => `${line(i)}\n`).join('')
    const written = {
      'm.csv': `time,v,host\n${rows((i) => `${1_400_000_000 + i},${i},a`)}`,
      'm.tsv': `time\tv\thost\n${rows((i) => `${1_400_000_000 + i}\t${i}\ta`)}`,
      'm.jsonl': rows((i) => `{"time":${1_400_000_000 + i},"v":${i},"host":"a"}`),
      'm.lp': rows((i) => `m,host=a v=${i} ${1_400_000_000 + i}000000000`),
      'm.TXT': rows((i) => `m,host=a v=${i} ${1_400_000_000 + i}000000000`),
    }
    const wanted = Array.from(
      { length: 3_000 },
      (_, i) => `m_v{host="a"} ${1_400_000_000_000 + 1_000 * i} ${i}`,
    )
    for (const [name, text] of Object.entries(written)) {
      const half = Math.floor(text.length / 2)
      file(name, text)
      writeFileSync(join(dir, `${name}.gz`), gzipSync(text))
      file(`parts-${name}.gz`, '')
      for (const part of [text.slice(0, half), text.slice(half)]) {
        appendFileSync(join(dir, `parts-${name}.gz`), gzipSync(part))
      }
      for (const data of [name, `${name}.gz`, `parts-${name}.gz`]) {
        const { code, err, samples } = await millrace(
          `run p.ts ${data} --time time --value v --labels host --name m`,
        )
        expect([data, code, samples.length]).toEqual([data, 0, 3_000])
        expect(samples).toEqual(wanted)
        expect(err).toContain(' lines, 3,000 samples\n')
      }
    }
    // The stem is the name that lies under both endings.
    file('cpu.csv', 'timestamp,value\n1400000000,1\n')
    writeFileSync(join(dir, 'cpu.csv.gz'), gzipSync('timestamp,value\n1400000000,1\n'))
    expect((await millrace('run p.ts cpu.csv.gz')).samples).toEqual(['cpu 1400000000000 1'])
    writeFileSync(join(dir, 'short.csv.gz'), gzipSync(written['m.csv']).subarray(0, 4_000))
    const short = await millrace('run p.ts short.csv.gz --time time --value v')
    expect(short.code).toBe(1)
    expect(short.err).toContain('short.csv.gz: is no gzip, or damaged, or cut off (unexpected end of file)')
    expect(openFiles().filter((path) => path.startsWith(dir))).toEqual([])
  })

  test('line protocol in another unit, beside CSV; a line without a time is a bad line', async () => {
    file('p.ts', PIPELINE)
    file('d.lp', 'cpu,host=b usage=2,state="on" 1400000001\ncpu,host=b usage=3\n')
    file('e.csv', 'timestamp,value\n1400000000,1\n1400000002,3\n')
    const { samples, err } = await millrace('run p.ts d.lp e.csv --time-format s')
    expect(samples).toEqual(['e 1400000000000 1', 'cpu_usage{host="b"} 1400000001000 2', 'e 1400000002000 3'])
    expect(err).toContain('d.lp: 2 lines, 1 sample, 1 string field, 1 bad line\n')
    expect(err).toContain('d.lp:2: the line has no timestamp: cpu,host=b usage=3\n')
  })

  test('a run over files that is broken off says so with the shell’s code for the signal', async () => {
    file('p.ts', PIPELINE)
    const { code, err, samples, closed } = await millrace('run p.ts - --format csv', {
      stdin: ['timestamp,value\n1400000000,1\n'],
      stdinStays: true,
      stopAfterMs: 100,
    })
    expect([code, closed]).toEqual([130, 1])
    expect(samples).toEqual(['stdin 1400000000000 1'])
    expect(err).toContain('broken off')
  })

  test('a fatal error of the node is printed as its message, and the node is closed', async () => {
    file('p.ts', PIPELINE)
    const { code, err, closed } = await millrace('run p.ts', { fatalAfterMs: 20 })
    expect([code, closed]).toEqual([1, 1])
    expect(err).toMatch(/millrace: the disk is full\n$/)
  })

  test('input in which nothing could be read fails', async () => {
    file('p.ts', PIPELINE)
    file('d.csv', 'timestamp,value\nsoon,1\n')
    const { code, err } = await millrace('run p.ts d.csv')
    expect(code).toBe(1)
    expect(err).toContain('d.csv:2: "soon" is not a time: soon,1\n  times are 2026-01-31T12:00:00Z,')
  })

  test('a time in another unit than the first is a bad line, by both units', async () => {
    file('p.ts', PIPELINE)
    file('d.csv', 'timestamp,value\n1767225600,1\n1767225660000,2\n1767225720,3\n')
    const { err, samples } = await millrace('run p.ts d.csv')
    expect(samples.length).toBe(2)
    expect(err).toContain(
      'd.csv:3: time "1767225660000" looks like milliseconds, but the first time was in seconds',
    )
  })

  test('input without a row says so, for it is seldom meant', async () => {
    file('p.ts', PIPELINE)
    file('head.csv', 'timestamp,value\n')
    file('empty.ndjson', '')
    file('gaps.csv', 'timestamp,value\n2026-01-01,NA\n')
    for (const [name, said] of [
      ['head.csv', 'it holds no rows'],
      ['empty.ndjson', 'it holds no rows'],
      ['gaps.csv', 'it holds no value'],
    ]) {
      const { code, err } = await millrace(`run p.ts ${name}`)
      expect(code).toBe(0)
      expect(err).toContain(`  ${said}: nothing was read from it\n`)
    }
  })

  test.each([
    [
      'p.ts d.csv',
      'there is no such column (got "timestamp"). Did you mean "timestmp"? Columns seen: timestmp, value.',
    ],
    ['p.ts d.csv', 'Say which columns are meant with --time, --value and --labels.'],
    ['p.ts none.csv', 'none.csv: there is no such file'],
    ['p.ts folder.csv', 'folder.csv: is a directory (got "folder.csv"). Name the files in it.'],
    ['p.ts empty.csv', 'empty.csv: is empty, not even a header row is there'],
    ['p.ts -', 'Add --format with one of csv, ndjson, line-protocol.'],
    ['p.ts d.gz', 'd.gz: its format is not known (got "d.gz"). Add --format with one of'],
    [
      'p.ts d.lp --time-format iso',
      '--time-format: is no time of line protocol (got "iso"). Write one of ns,',
    ],
    ['p.ts d.csv.gz', 'd.csv.gz: is no gzip, or damaged, or cut off (incorrect header check)'],
    ['p.ts folder.csv.gz', 'folder.csv.gz: is a directory'],
    ['p.ts - - --format csv', 'stdin is named twice'],
    ['p.ts d.csv --time-format ns2', '--time-format: is not one of the choices'],
    ['p.ts d.csv --topic other', '--topic: no pipeline reads it (got "other"). Write one of metrics.'],
    ['p.ts d.csv --time timestmp --delimiter ab', 'is not one ASCII character'],
    ['p.ts d.csv --time timestmp --value value,value', 'is named twice'],
  ])('run %s is an error that says what to do', async (words, message) => {
    file('p.ts', PIPELINE)
    file('d.csv', 'timestmp,value\n')
    file('empty.csv', '')
    file('d.csv.gz', 'timestmp,value\n')
    mkdirSync(join(dir, 'folder.csv'))
    mkdirSync(join(dir, 'folder.csv.gz'))
    const { code, err } = await millrace(`run ${words}`)
    expect(code).toBe(1)
    expect(err).toContain(message)
    expect(err).not.toContain('    at ')
    expect(openFiles().filter((path) => path.startsWith(dir))).toEqual([])
  })

  test('data for pipelines of several topics needs to be told where to', async () => {
    file('p.ts', PIPELINE)
    file('q.ts', PIPELINE.replace("'cpu'", "'q'").replace("'metrics'", "'others'"))
    file('d.csv', 'timestamp,value\n1,1\n')
    expect((await millrace('run p.ts q.ts d.csv')).err).toContain('Write one of metrics, others.')
    expect((await millrace('run p.ts q.ts d.csv --topic others')).code).toBe(0)
  })
})

describe('millrace demo', () => {
  test('feeds this machine’s metrics to the shipped pipelines, and says where to look', async () => {
    const { code, out, samples, closed, err } = await millrace('demo', { stopAfterMs: 1_300 })
    expect(err).toBe('')
    expect([code, closed]).toEqual([0, 1])
    expect(out).toContain("curl -s 'http://127.0.0.1:1/api/v1/results?pipeline=host-usage")
    expect(samples.some((sample) => sample.startsWith('host_memory_used_ratio{host='))).toBe(true)
  })
})

describe('millrace replay', () => {
  test('names every fault of what was asked for', async () => {
    file('p.ts', PIPELINE)
    const { code, err } = await millrace('replay p.ts --from yesterday --to 2026 --threads 0 --data nowhere')
    expect(code).toBe(1)
    expect(err).toContain('--from: is neither a time nor an offset (got "yesterday")')
    expect(err).toContain('--threads: is no number of threads (got "0")')
    expect((await millrace('replay p.ts --from 20 --to 10')).err).toContain('--to: is not after --from')
    expect((await millrace('replay p.ts --from -1h --to -2h')).err).toContain('--to: is not after --from')
  })
})

describe('millrace reset', () => {
  const data = (): string => join(dir, 'data')

  async function fill(): Promise<void> {
    const store = await openStore({ dir: data() })
    const state = openStateWriter({ dir: data(), fence: store.fence })
    state.transaction((txn) => {
      txn.putPipeline({ name: 'cpu', topicId: 0, topic: 'metrics', planHash: 'h', planJson: '{}' })
      txn.putSink(0, 'file', '{}')
    })
    await state.close()
    await store.close()
  }

  test('shows what would go, and without an answer deletes nothing', async () => {
    await fill()
    const words = `reset --pipeline cpu --data ${data()}`
    const nobody = await millrace(words)
    expect([nobody.code, nobody.err]).toEqual([
      1,
      expect.stringContaining('pipeline cpu: state and results, 1 rows'),
    ])
    expect(nobody.err).toContain('add --yes')
    const no = await millrace(words, { isTerminal: true, stdin: ['no\n'] })
    expect([no.code, no.err]).toEqual([1, expect.stringContaining('Nothing was deleted')])
    const yes = await millrace(words, { isTerminal: true, stdin: ['yes\n'] })
    expect([yes.code, yes.err]).toEqual([0, expect.stringContaining('deleted\n')])
    expect((await millrace(`${words} --yes`)).err).toContain('holds no such pipeline')
  })

  test('prints what it deleted as JSON', async () => {
    await fill()
    const { code, out } = await millrace(`reset --all --yes --json --data ${data()}`)
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ dir: data(), all: true, pipelines: [{ name: 'cpu' }] })
    expect(existsSync(data())).toBe(false)
  })
})
