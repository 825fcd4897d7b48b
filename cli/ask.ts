/**
 * Whom a question goes to: the node, over HTTP, while one runs; the store itself only when none does. So that no command
 * reads beside a node what the node knows better, and none is left without an answer when the node is down.
 */
import { resolve } from 'node:path'
import type { ArgsDef } from 'citty'
import type { NodeConfig } from '../engine/config/config.ts'
import { ERROR_CODES, type ErrorCode, type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { FeedbackQuery, FeedbackStatement } from '../engine/contract/feedback.ts'
import type {
  AlertHistoryQuery,
  AlertRow,
  AlertsQuery,
  CurrentAlert,
  IncidentsAnswer,
  IncidentsQuery,
  NodeStatus,
  Page,
  PipelineStatus,
  SilencesQuery,
} from '../engine/contract/queries.ts'
import type { SilenceRow } from '../engine/contract/silences.ts'
import { someSettingFlags } from './arguments.ts'
import { loadConfig } from './load-config.ts'
import type { Shell } from './shell.ts'

/** A node that takes longer to tell how it is does not do well. */
const ANSWER_MS_MAX = 5_000

export interface Answers {
  /** Null: nobody runs on the store. */
  readonly url: string | null
  readonly dataDirectory: string
  /** Null without a node. */
  readonly status: NodeStatus | null
  pipelines(): Promise<readonly PipelineStatus[]>
  alerts(query: AlertsQuery): Promise<readonly CurrentAlert[]>
  alertHistory(query: AlertHistoryQuery): Promise<Page<AlertRow>>
  incidents(query: IncidentsQuery): Promise<IncidentsAnswer>
  feedback(query: FeedbackQuery): Promise<readonly FeedbackStatement[]>
  silences(query: SilencesQuery): Promise<readonly SilenceRow[]>
  close(): Promise<void>
}

export const askFlags: ArgsDef = {
  url: {
    type: 'string',
    valueHint: 'address',
    description: 'where the node answers (default: http://HOST:PORT of --host and --port)',
  },
  ...someSettingFlags('config', 'host', 'port', 'data'),
}

export async function askNodeOrStore(
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<Answers> {
  const config = await loadConfig(args, shell)
  const url = nodeUrl(args, config)
  const node = await reachNode(url)
  // Another store was meant than the one this node runs on.
  const isMeant = typeof args.data !== 'string' || node?.dataDirectory === resolve(shell.cwd, config.data)
  if (node !== null && (isMeant || typeof args.url === 'string')) return askNode(url, node)
  if (typeof args.url === 'string') {
    throw new MillraceError(
      'UNAVAILABLE',
      `nothing answers at ${url}. Name where the node listens with --url.`,
    )
  }
  return openStore(url, config, shell)
}

/** Only a node will do. */
export async function askNodeOnly(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<Answers> {
  const config = await loadConfig(args, shell)
  const url = nodeUrl(args, config)
  const node = await reachNode(url)
  if (node !== null) return askNode(url, node)
  throw new MillraceError(
    'UNAVAILABLE',
    `no node answers at ${url}. Start one (millrace demo, millrace run), or name where it listens with --port or --url.`,
  )
}

function nodeUrl(args: Readonly<Record<string, unknown>>, config: NodeConfig): string {
  if (typeof args.url === 'string') {
    const url = URL.parse(args.url) ?? URL.parse(`http://${args.url}`)
    if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin
    throw MillraceError.ofFaults('INPUT_INVALID', 'the node cannot be asked', [
      {
        place: '--url',
        value: args.url,
        problem: 'is no address',
        remedy: 'Write one such as http://127.0.0.1:8428.',
      },
    ])
  }
  // Who listens everywhere is reached here as well.
  const host = config.host === '0.0.0.0' ? '127.0.0.1' : config.host === '::' ? '::1' : config.host
  return `http://${host.includes(':') ? `[${host}]` : host}:${config.port}`
}

/** What the node at `url` says of itself; null: nobody answers there, or somebody who is no node. */
export async function reachNode(url: string): Promise<NodeStatus | null> {
  let answer: unknown
  try {
    answer = await get(url, '/api/v1/status')
  } catch {
    return null
  }
  const isStatus = typeof answer === 'object' && answer !== null && 'dataDirectory' in answer
  return isStatus ? (answer as NodeStatus) : null
}

async function get(url: string, path: string): Promise<unknown> {
  const response = await fetch(url + path, {
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
    redirect: 'error',
  })
  const body = (await response.json()) as { readonly error?: string }
  if (response.ok) return body
  throw new MillraceError(
    'UNAVAILABLE',
    `${url} answers ${response.status}: ${body.error ?? 'no reason given'}`,
  )
}

/** What changes something: to the node alone. Its refusal is told as it tells it, with the places of what is wrong. */
export async function tellNode(
  url: string,
  path: string,
  method: 'POST' | 'DELETE',
  body?: unknown,
): Promise<unknown> {
  let response: Response
  let answer: { readonly error?: string; readonly code?: string; readonly faults?: readonly Fault[] }
  try {
    response = await fetch(url + path, {
      method,
      ...(body === undefined
        ? {}
        : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
      redirect: 'error',
    })
    answer = (await response.json()) as typeof answer
  } catch (error) {
    const { message } = error as Error
    throw new MillraceError('UNAVAILABLE', `the node at ${url} does not answer: ${message}`, { cause: error })
  }
  if (response.ok) return answer
  const { error = `${url} answers ${response.status}`, code, faults = [] } = answer
  const known = ERROR_CODES.find((one): one is ErrorCode => one === code) ?? 'UNAVAILABLE'
  throw new MillraceError(known, error, { faults })
}

function askNode(url: string, status: NodeStatus): Answers {
  const ask = async (path: string, query: object): Promise<unknown> => {
    const params = new URLSearchParams()
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) params.set(name, String(value))
    }
    try {
      return await get(url, `${path}?${params}`)
    } catch (error) {
      if (error instanceof MillraceError) throw error
      const { message } = error as Error
      throw new MillraceError('UNAVAILABLE', `the node at ${url} no longer answers: ${message}`, {
        cause: error,
      })
    }
  }
  const rows = async <T>(path: string, query: object): Promise<readonly T[]> =>
    ((await ask(path, query)) as { readonly rows: readonly T[] }).rows
  return {
    url,
    dataDirectory: status.dataDirectory,
    status,
    pipelines: () => rows<PipelineStatus>('/api/v1/pipelines', {}),
    alerts: (query) => rows<CurrentAlert>('/api/v1/alerts', query),
    alertHistory: async ({ fromMs, toMs, ...query }) => {
      const asked = { ...query, from: fromMs, to: toMs }
      return (await ask('/api/v1/alerts/history', asked)) as Page<AlertRow>
    },
    incidents: async ({ fromMs, gapMs, by, ...query }) => {
      const asked = {
        ...query,
        from: fromMs,
        gap: gapMs === undefined ? undefined : `${gapMs}ms`,
        by: by?.join(','),
      }
      return (await ask('/api/v1/incidents', asked)) as IncidentsAnswer
    },
    feedback: (query) => rows<FeedbackStatement>('/api/v1/feedback', query),
    silences: (query) => rows<SilenceRow>('/api/v1/silences', query),
    close: async () => {},
  }
}

async function openStore(url: string, config: NodeConfig, shell: Shell): Promise<Answers> {
  const { storeAt } = await import('../engine/store/place.ts')
  let dir: string
  try {
    dir = storeAt(resolve(shell.cwd, config.data))
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
    throw new MillraceError(
      'UNAVAILABLE',
      `no node answers at ${url}, and there is no store in ${resolve(shell.cwd, config.data)}. ` +
        'Name where the node listens with --port or --url, or the directory of a store with --data.',
      { cause: error },
    )
  }
  const { liveOwner } = await import('../engine/store/store.ts')
  const owner = await liveOwner(dir, shell.clock)
  if (owner !== null) {
    throw new MillraceError(
      'UNAVAILABLE',
      `a node runs on the store in ${dir}, but not at ${url}. Name where it listens with --port or --url.`,
      { cause: owner },
    )
  }
  const { openStateReader } = await import('../engine/store/state-store.ts')
  const { openLogReader } = await import('../engine/store/log-store.ts')
  const { listFeedback } = await import('../engine/pipeline/feedback-door.ts')
  const { createQueries } = await import('../engine/pipeline/queries.ts')
  const state = openStateReader({ dir })
  const log = openLogReader({ dir })
  const live = {
    pipeline: () => ({ state: 'stopped' as const, problem: null }),
    watermarkMs: () => null,
    status: (): Promise<NodeStatus> => Promise.reject(new Error('no node runs')),
  }
  const queries = createQueries({ state, log, live })
  return {
    url: null,
    dataDirectory: dir,
    status: null,
    pipelines: () => queries.pipelines(),
    alerts: (query) => queries.alerts(query),
    alertHistory: (query) => queries.alertHistory(query),
    incidents: (query) => queries.incidents(query),
    feedback: async (query) => listFeedback(log.feedback(), query),
    silences: (query) => queries.silences(query),
    async close() {
      await state.close()
      await log.close()
    },
  }
}
