/**
 * The node's configuration: one table gives types, defaults, help, flags, environment variables and the docs page.
 * Flags beat the environment, the environment beats the file. `resolveConfig` yields a frozen object or throws ONE
 * CONFIG_INVALID that names every fault by the place it was written at. Called once, at start; reads nothing itself.
 */
import { availableParallelism } from 'node:os'
import { type Fault, MillraceError } from '../contract/errors.ts'
import { knownRemedy } from './did-you-mean.ts'
import {
  bytes,
  duration,
  flag,
  integer,
  type OptionField,
  type OptionFields,
  type Parsed,
  parseValue,
  text,
  type Unit,
  type Written,
} from './options.ts'

const FIELDS = {
  port: {
    type: integer({ min: 0, max: 65_535 }),
    default: 8428,
    meaning: 'where HTTP is served; 0: any free port',
  },
  host: {
    type: text({ lengthMax: 255 }),
    default: '127.0.0.1',
    meaning: 'the address to listen on; anything but this machine itself needs `insecure`',
  },
  insecure: {
    type: flag(),
    default: false,
    meaning: 'listen on other addresses although there is no authentication',
  },
  data: {
    type: text(),
    default: './millrace-data',
    meaning: 'the directory of the store; made if it is not there',
  },
  retentionAge: {
    type: duration({ minMs: 60_000 }),
    default: '7d',
    meaning: 'samples and results older than this are deleted',
  },
  retentionSize: {
    type: bytes({ minBytes: 64 * 2 ** 20 }),
    default: '10GB',
    meaning:
      'the oldest samples are deleted when the log is larger than this; up to a tenth more is kept where its file has room',
  },
  partitions: {
    type: integer({ min: 1, max: 1_024 }),
    default: 16,
    meaning: 'of a new topic that does not say how many it has; fixed when the topic is made',
  },
  commitEvery: {
    type: duration({ minMs: 1, maxMs: 60_000 }),
    default: '100ms',
    meaning: 'results and alerts become durable and visible at once, but no more often than this',
  },
  checkpointEvery: {
    type: duration({ minMs: 100, maxMs: 3_600_000 }),
    default: '5s',
    meaning: 'state is saved this often; after a crash, at most this much is worked through again',
  },
  bodyLimit: {
    type: bytes({ minBytes: 1_024, maxBytes: 2 ** 30 }),
    default: '32MiB',
    meaning: 'a larger request body, after decompression, is answered with 413',
  },
  seriesLimit: {
    type: integer({ min: 1, max: 100_000_000 }),
    default: 1_000_000,
    meaning: 'of each topic; samples of further series are refused and counted',
  },
  futureLimit: {
    type: duration(),
    default: '10m',
    meaning: 'samples further ahead of the clock than this are refused and counted',
  },
  lagLimit: {
    type: integer({ min: 1_000 }),
    default: 100_000_000,
    meaning: 'samples a pipeline may be behind before producers get 429',
  },
  idempotencyHorizon: {
    type: duration({ minMs: 1_000, maxMs: 90 * 86_400_000 }),
    default: '24h',
    meaning: 'how long an `Idempotency-Key` is remembered at least',
  },
  idempotencyKeys: {
    type: integer({ min: 1, max: 1_000_000_000 }),
    default: 20_000_000,
    meaning:
      'keys remembered at once, 10 to 24 bytes of memory and 41 of disk each; beyond, writes with a new key get 429',
  },
  producerLimit: {
    type: integer({ min: 1, max: 1_000_000 }),
    default: 10_000,
    meaning:
      'producers known at once; beyond, a new one takes the place of one quiet for a week, or is refused',
  },
  scoreSeries: {
    type: integer({ min: 0, max: 1_000 }),
    default: 0,
    meaning:
      'series whose value, score and band are on `/metrics`, those with the highest scores; 0: none. 200 is plenty for Grafana',
  },
  shards: {
    type: integer({ min: 1, max: 64 }),
    default: Math.max(1, availableParallelism() - 1),
    defaultText: 'one fewer than there are cores, at least 1',
    meaning: 'threads that run pipelines; may change from run to run',
  },
  shardHeap: {
    type: bytes({ minBytes: 64 * 2 ** 20, maxBytes: 2 ** 40 }),
    default: '4GiB',
    meaning:
      'heap of each shard thread; one that needs more is started again. State, rings and buffers are not in it',
  },
  hangAfter: {
    type: duration({ minMs: 1_000, maxMs: 3_600_000 }),
    default: '30s',
    meaning: 'a shard that has work and does not move for this long is started again',
  },
  poisonTries: {
    type: integer({ min: 1, max: 100 }),
    default: 3,
    meaning: 'a batch over which a pipeline has failed this often is skipped, and kept as a dead letter',
  },
  restartLimit: {
    type: integer({ min: 0, max: 1_000 }),
    default: 20,
    meaning: 'restarts of a shard within `restartWindow`, after which the node gives up',
  },
  restartWindow: {
    type: duration({ minMs: 1_000, maxMs: 86_400_000 }),
    default: '10m',
    meaning: 'how long a restart counts against `restartLimit`',
  },
  diskReserve: {
    type: bytes({ minBytes: 0 }),
    default: '512MB',
    meaning: 'with less room left on the disk of `data`, nothing is taken in; 0: no such bound',
  },
  ingestRing: {
    type: bytes({ minBytes: 2 ** 20, maxBytes: 2 ** 30, powerOfTwo: true }),
    default: '16MiB',
    meaning: 'room between a decoder and the log writer',
  },
  shardRing: {
    type: bytes({ minBytes: 2 ** 20, maxBytes: 2 ** 30, powerOfTwo: true }),
    default: '16MiB',
    meaning: 'room between the log writer and each shard; beyond it, the shard reads the log',
  },
  commitRing: {
    type: bytes({ minBytes: 2 ** 20, maxBytes: 2 ** 30, powerOfTwo: true }),
    default: '16MiB',
    meaning: 'room between each shard and the committer',
  },
} as const satisfies Readonly<Record<string, OptionField & { readonly defaultText?: string }>>

export type NodeConfig = Parsed<typeof FIELDS>
/** What `millrace.config.ts` may hold. */
export type ConfigInput = Written<typeof FIELDS>

export interface ConfigSources {
  /** By name, `retentionAge` or `retention-age`; only flags of the configuration. */
  readonly flags?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string | undefined>>
  /** What the file exports by default. */
  readonly file?: unknown
  /** For faults. */
  readonly fileName?: string
}

export interface Setting {
  /** As in the file: `retentionAge`. */
  readonly name: string
  /** `--retention-age` */
  readonly flag: string
  /** `MILLRACE_RETENTION_AGE` */
  readonly env: string
  readonly type: string
  readonly default: string
  readonly meaning: string
  /** The flag takes no value. */
  readonly isSwitch: boolean
}

/** Every setting, in the order of the table: for help, flags and docs. */
export const SETTINGS: readonly Setting[] = Object.entries<OptionField & { readonly defaultText?: string }>(
  FIELDS,
).map(([name, field]) => ({
  name,
  flag: `--${kebab(name)}`,
  env: `MILLRACE_${kebab(name).replaceAll('-', '_').toUpperCase()}`,
  type: field.type.text,
  default: field.defaultText ?? String(field.default),
  meaning: field.meaning,
  isSwitch: typeof field.default === 'boolean',
}))

/** Types the object that `millrace.config.ts` exports.
 *
 *     export default defineConfig({ data: '/var/lib/millrace', retentionSize: '50GB' })
 */
export function defineConfig(config: ConfigInput): ConfigInput {
  return config
}

export function resolveConfig(sources: ConfigSources = {}): NodeConfig {
  const { env = {}, fileName = 'millrace.config.ts' } = sources
  const faults: Fault[] = []
  const flags = byName(sources.flags ?? {}, (name) => `--${kebab(name)}`, faults)
  const file = byName(fileObject(sources.file, fileName, faults), (name) => `${fileName}: ${name}`, faults)
  const config: Record<string, unknown> = {}
  const places = new Map<string, string>()
  for (const setting of SETTINGS) {
    const { name } = setting
    const field: OptionField = (FIELDS as OptionFields)[name]!
    const variable = env[setting.env]
    let value = field.default
    let place = name
    if (flags[name] !== undefined) {
      value = flags[name]
      place = setting.flag
    } else if (variable !== undefined && variable !== '') {
      value = variable
      place = setting.env
    } else if (file[name] !== undefined) {
      value = file[name]
      place = `${fileName}: ${name}`
    }
    places.set(name, place)
    const isText = place === setting.flag || place === setting.env
    config[`${name}${field.type.unit}`] = readValue(field, value, isText, place, faults)
  }
  if (faults.length === 0) checkTogether(config as NodeConfig, places, faults)
  if (faults.length > 0)
    throw MillraceError.ofFaults('CONFIG_INVALID', 'the configuration is not valid', faults)
  return Object.freeze(config) as NodeConfig
}

/** Markdown for docs/configuration.md: the whole page. */
export function configurationPage(): string {
  const rows = SETTINGS.map(
    ({ name, flag: option, env, type, default: fallback, meaning }) =>
      `| \`${name}\` | \`${option}\` | \`${env}\` | ${type} | ${fallback} | ${meaning} |`,
  )
  return `${PAGE_HEAD}\n${rows.join('\n')}\n`
}

const PAGE_HEAD = `# Configuration

A flag beats an environment variable, which beats \`millrace.config.ts\` (or \`.js\`) in the directory where millrace is
started. An empty variable counts as not set. All faults are reported at once, each with its place.

    // millrace.config.ts
    import { defineConfig } from 'millrace'

    export default defineConfig({ data: '/var/lib/millrace', retentionSize: '50GB' })

Durations are written as \`500ms\`, \`5s\`, \`1h30m\` or \`7d\`, sizes as \`512kB\`, \`64MiB\` or \`10GB\`; in the file they may
also be numbers of milliseconds and bytes.

| in the file | flag | environment | type | default | meaning |
|---|---|---|---|---|---|`

function fileObject(file: unknown, fileName: string, faults: Fault[]): Readonly<Record<string, unknown>> {
  if (file === undefined) return {}
  if (typeof file === 'object' && file !== null && !Array.isArray(file))
    return file as Record<string, unknown>
  const remedy = 'Write export default defineConfig({ … }).'
  faults.push({ place: fileName, value: file, problem: 'does not export an object', remedy })
  return {}
}

/** Values by the setting's own name; what is no setting is a fault. */
function byName(
  written: Readonly<Record<string, unknown>>,
  placeOf: (name: string) => string,
  faults: Fault[],
): Readonly<Record<string, unknown>> {
  const values: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(written)) {
    const name = camel(key)
    if (Object.hasOwn(FIELDS, name)) values[name] = value
    else {
      const known = SETTINGS.map((setting) => setting.name)
      faults.push({
        place: placeOf(key),
        value,
        problem: 'is no known setting',
        remedy: knownRemedy(name, known),
      })
    }
  }
  return values
}

/** Flags and variables are text; where the text is not allowed, the number or truth value that it spells may be. */
function readValue(
  field: OptionField,
  value: unknown,
  isText: boolean,
  place: string,
  faults: Fault[],
): unknown {
  const before = faults.length
  const read = parseValue(field.type, value, place, faults)
  if (faults.length === before || !isText || typeof value !== 'string') return read
  const spelled = spelledValue(value, field.type.unit)
  const attempt: Fault[] = []
  const again = spelled === undefined ? undefined : parseValue(field.type, spelled, place, attempt)
  if (spelled === undefined) return undefined
  faults.length = before
  faults.push(...attempt.map((fault) => ({ ...fault, value })))
  return again
}

function spelledValue(value: string, unit: Unit): number | boolean | undefined {
  if (value === 'true' || value === 'false') return value === 'true'
  // A bare number of what? Durations and sizes need their unit where everything is text.
  return unit === '' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : undefined
}

function checkTogether(config: NodeConfig, places: ReadonlyMap<string, string>, faults: Fault[]): void {
  const fault = (name: string, value: unknown, problem: string, remedy: string): void => {
    faults.push({ place: places.get(name)!, value, problem, remedy })
  }
  if (!config.insecure && !isLoopback(config.host)) {
    const remedy =
      'Listen on 127.0.0.1, behind a proxy that authenticates, or add --insecure: anyone could then write and read.'
    fault('host', config.host, 'is not this machine alone, and there is no authentication yet', remedy)
  }
  if (config.checkpointEveryMs < config.commitEveryMs) {
    const remedy = 'Write a longer checkpointEvery or a shorter commitEvery.'
    fault(
      'checkpointEvery',
      config.checkpointEveryMs,
      `is less than commitEvery, ${config.commitEveryMs} ms`,
      remedy,
    )
  }
}

function isLoopback(host: string): boolean {
  return /^(127(\.\d{1,3}){3}|localhost|::1|\[::1\])$/i.test(host)
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
