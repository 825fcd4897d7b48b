/**
 * `millrace alerts list`: alerts as they stand, or their history. `millrace alerts incidents`: those that belong together.
 * `millrace alerts expected`, `missed`, `feedback`, `undo`: what people think of them (feedback.ts). Silences are in silences.ts.
 * `millrace alerts test`: a marked alert to the sinks of a pipeline, to see that it arrives. It passes through no log and no
 * store, and is known by `"test": true` and its id.
 */
import { hostname } from 'node:os'
import { defineCommand } from 'citty'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { readTimeMs, TIME_ALLOWED } from '../engine/config/times.ts'
import { DURATION_ALLOWED, durationText, readDurationMs } from '../engine/config/units.ts'
import type { Alert, AlertState } from '../engine/contract/alert.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import type { PipelinePlan, SinkPlan } from '../engine/contract/plan.ts'
import type { Registry, Sink, SinkContext, SinkPlugin } from '../engine/contract/plugins.ts'
import {
  INCIDENT_GAP_MS,
  INCIDENT_TRANSITIONS_MAX,
  type Incident,
  QUERY_ROWS_MAX,
} from '../engine/contract/queries.ts'
import { seriesText } from '../engine/series/series-key.ts'
import { ALERT_ACTIONS } from './alert-actions.ts'
import { askFlags, askNodeOrStore } from './ask.ts'
import { type Colours, colours, wantsColour } from './colour.ts'
import { feedbackFlags, isFeedback, runFeedback } from './feedback.ts'
import { loadConfig } from './load-config.ts'
import { loadPipelines } from './load-pipeline.ts'
import { type Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, type Shell, shellOf } from './shell.ts'
import { runSilence, runSilences, runUnsilence, silenceFlags } from './silences.ts'
import { timeText } from './time-text.ts'

const STATES: readonly AlertState[] = ['pending', 'firing', 'resolved']
/** Alerts of an incident that are shown; `--json` has all. */
const SHOWN_MAX = 8
const SINCE_DEFAULT = '-24h'

export const alerts: Command = {
  definition: defineCommand({
    meta: {
      name: 'alerts',
      description: 'Alerts as they stand, their history, silences, and a test of where they go',
    },
    args: {
      action: {
        type: 'positional',
        required: false,
        description:
          'list (the default), incidents; expected ID, missed PIPELINE SERIES, feedback, undo NUMBER; silence CONDITION..., silences, unsilence NUMBER; or test and the pipelines (.ts .mts .js .mjs) whose sinks to try',
      },
      pipeline: { type: 'string', valueHint: 'name', description: 'of this pipeline only' },
      state: {
        type: 'string',
        valueHint: STATES.join('|'),
        description: 'list: in this state only; silences: active, pending or expired ones',
      },
      history: { type: 'boolean', description: 'list: every transition, not only how things stand' },
      since: {
        type: 'string',
        valueHint: 'time',
        description: `list, incidents: history from here on (default ${SINCE_DEFAULT})`,
      },
      by: {
        type: 'string',
        valueHint: 'label,…',
        description:
          'incidents: alerts with equal values of these belong together (default: any label in common)',
      },
      gap: {
        type: 'string',
        valueHint: 'duration',
        description: `incidents: what begins so long after the others ended still belongs to them (default ${durationText(INCIDENT_GAP_MS)})`,
      },
      detector: {
        type: 'string',
        valueHint: 'name',
        description: 'missed: the detector that should have told; silence: alerts of this detector only',
      },
      ...feedbackFlags,
      ...silenceFlags,
      sink: { type: 'string', valueHint: 'name', description: 'test: this sink only' },
      json: { type: 'boolean', description: 'print as JSON' },
      ...askFlags,
    },
    run: ({ args, rawArgs, data }) => runAlerts(args._, args, rawArgs, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace alerts                                   what is pending or firing now
  millrace alerts list --state firing --json
  millrace alerts list --history --since -1h --pipeline checkout-latency
  millrace alerts incidents --since -7d --by host   what fired together, by host
  millrace alerts expected ID --note 'backup runs'  this was no problem: ask for more of this series
  millrace alerts missed cpu-load 'host=a' --detector mean-ewma --at -1h
  millrace alerts feedback                          what was said so far
  millrace alerts undo 3                            as if it had never been said
  millrace alerts silence --match rack=r7 --for 2h --comment 'new switch'
  millrace alerts silences --state active
  millrace alerts unsilence 3                       ends it now: what still fires is told
  millrace alerts test pipeline.ts                  does an alert reach its webhook?
  millrace alerts test pipeline.ts --sink webhook

Exit codes: 0 done; 1 a sink did not take the test, or there is nobody to ask; 2 the command line is not understood.
`,
}

async function runAlerts(
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  raw: readonly string[],
  shell: Shell,
): Promise<number> {
  const [action = 'list', ...files] = words
  if (action === 'silence') return runSilence(files, args, raw, shell)
  if (action === 'silences' && files.length === 0) return runSilences(args, shell)
  if (action === 'unsilence') return runUnsilence(files, args, shell)
  if (action === 'test') return runTest(files, args, shell)
  if (isFeedback(action)) return runFeedback(action, files, args, shell)
  if (action === 'list' && files.length === 0) return runList(args, shell)
  if (action === 'incidents' && files.length === 0) return runIncidents(args, shell)
  const said = ALERT_ACTIONS.includes(action) ? files[0]! : action
  shell.err(
    `millrace alerts: ${JSON.stringify(said)} is not understood. ${knownRemedy(said, ALERT_ACTIONS)}\n`,
  )
  return EXIT_USAGE
}

/** What lies before may be what was looked for: `-24h` of wall time is nothing to a file of last year. */
function sinceText(fromMs: number): string {
  return ` since ${timeText(fromMs)}; --since names an earlier time`
}

async function runList(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const faults: Fault[] = []
  const state = STATES.find((one) => one === args.state)
  if (args.state !== undefined && state === undefined) {
    const remedy = `Write one of ${STATES.join(', ')}.`
    faults.push({ place: '--state', value: args.state, problem: 'is not one of the choices', remedy })
  }
  const fromMs = sinceMs(args, shell, faults)
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'what to list is not clear', faults)
  const answers = await askNodeOrStore(args, shell)
  try {
    const named = typeof args.pipeline === 'string' ? args.pipeline : undefined
    const wanted = { ...(state === undefined ? {} : { state }) }
    let found: readonly (Alert & { readonly silencedBy?: number })[]
    if (args.history === true) {
      const names = named === undefined ? (await answers.pipelines()).map(({ name }) => name) : [named]
      const pages = await Promise.all(
        names.map((pipeline) => answers.alertHistory({ ...wanted, pipeline, limit: QUERY_ROWS_MAX, fromMs })),
      )
      found = pages.flatMap(({ rows }) => rows).sort((a, b) => a.atMs - b.atMs)
    } else found = await answers.alerts({ ...wanted, ...(named === undefined ? {} : { pipeline: named }) })
    const paint = colours(wantsColour(shell.outIsTerminal === true, shell.env))
    if (args.json === true) shell.out(`${JSON.stringify({ rows: found }, null, 2)}\n`)
    else if (found.length === 0) shell.err(`no alerts${args.history === true ? sinceText(fromMs) : ''}\n`)
    else shell.out(found.map((alert) => `${alertLine(alert, paint)}\n`).join(''))
    return EXIT_OK
  } finally {
    await answers.close()
  }
}

function sinceMs(args: Readonly<Record<string, unknown>>, shell: Shell, faults: Fault[]): number {
  const since = typeof args.since === 'string' ? args.since : SINCE_DEFAULT
  const ms = readTimeMs(since, shell.clock.nowMs())
  if (ms !== null) return ms
  faults.push({ place: '--since', value: since, problem: 'is not a time', remedy: `Write ${TIME_ALLOWED}.` })
  return 0
}

async function runIncidents(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const faults: Fault[] = []
  const fromMs = sinceMs(args, shell, faults)
  const gap = args.gap === undefined ? { value: INCIDENT_GAP_MS } : readDurationMs(args.gap)
  if ('problem' in gap) {
    const remedy = `Write ${DURATION_ALLOWED}.`
    faults.push({ place: '--gap', value: args.gap, problem: gap.problem, remedy })
  }
  const by = typeof args.by === 'string' ? args.by.split(',').map((name) => name.trim()) : undefined
  if (by?.includes('')) {
    faults.push({
      place: '--by',
      value: args.by,
      problem: 'names no label',
      remedy: 'Write labels: --by host,service.',
    })
  }
  if (faults.length > 0)
    throw MillraceError.ofFaults('INPUT_INVALID', 'what belongs together is not clear', faults)
  const answers = await askNodeOrStore(args, shell)
  try {
    const {
      rows: found,
      isWhole,
      dropped,
    } = await answers.incidents({
      ...(typeof args.pipeline === 'string' ? { pipeline: args.pipeline } : {}),
      ...(by === undefined ? {} : { by }),
      gapMs: 'value' in gap ? gap.value : INCIDENT_GAP_MS,
      fromMs,
    })
    if (!isWhole) {
      const most = INCIDENT_TRANSITIONS_MAX.toLocaleString('en-US')
      const older =
        dropped === undefined ? '' : `, ${dropped.toLocaleString('en-US')} older ones were dropped`
      shell.err(`of the newest ${most} transitions only${older}: give a later --since, or a --pipeline\n`)
    }
    const paint = colours(wantsColour(shell.outIsTerminal === true, shell.env))
    if (args.json === true) shell.out(`${JSON.stringify({ rows: found }, null, 2)}\n`)
    else if (found.length === 0) shell.err(`no incidents${sinceText(fromMs)}\n`)
    else shell.out(found.map((incident) => incidentText(incident, paint)).join('\n'))
    return EXIT_OK
  } finally {
    await answers.close()
  }
}

/**
 *     open      2026-01-31 12:00:05Z  critical  3 alerts  {rack="7"}
 *       12:00:05Z  host-usage/full  cpu{host="a"}: cpu 0.99 is above 0.9
 */
function incidentText(
  { severity, sinceMs, untilMs, labels, alerts: parts }: Incident,
  paint: Colours,
): string {
  const state = untilMs === null ? paint.red('open    ') : paint.green('closed  ')
  const lasted =
    untilMs === null
      ? ''
      : `  ${durationText(Math.max(1_000, Math.round((untilMs - sinceMs) / 1_000) * 1_000))}`
  const marked = severity === 'critical' ? `  ${paint.red('critical')}` : ''
  const alerts = parts.length === 1 ? '1 alert' : `${parts.length} alerts`
  const shared = Object.keys(labels).length === 0 ? '' : `  ${seriesText(labels)}`
  const lines = [`${state}  ${paint.dim(timeText(sinceMs))}${lasted}${marked}  ${alerts}${shared}`]
  for (const part of parts.slice(0, SHOWN_MAX)) {
    const where = `${part.pipeline}/${part.detector} ${seriesText(part.group)}`
    lines.push(`  ${paint.dim(timeText(part.sinceMs))}  ${where}: ${part.reason}`)
  }
  if (parts.length > SHOWN_MAX) lines.push(`  and ${parts.length - SHOWN_MAX} more (--json)`)
  return `${lines.join('\n')}\n`
}

/** `firing    2026-01-31 12:00:05Z  host-usage/full  host_cpu_busy_ratio{cpu="0"}: …` */
export function alertLine(alert: Alert & { readonly silencedBy?: number }, paint: Colours): string {
  const at = timeText(alert.atMs)
  const where = `${alert.pipeline}/${alert.detector} ${seriesText(alert.group)}`
  const marks = [
    ...(alert.severity === 'critical' ? ['critical'] : []),
    ...(alert.flapping ? ['flapping'] : []),
  ]
  const silent = alert.silencedBy === undefined ? '' : `${paint.yellow(`silenced by ${alert.silencedBy}`)}  `
  const marked = marks.length === 0 ? silent : `${paint.red(marks.join(', '))}  ${silent}`
  return `${alertColour(paint, alert.state)(alert.state.padEnd(8))}  ${paint.dim(at)}  ${marked}${where}: ${alert.reason}`
}

export function alertColour(paint: Colours, state: AlertState): (text: string) => string {
  if (state === 'firing') return paint.red
  return state === 'pending' ? paint.yellow : paint.green
}

interface Tried {
  readonly pipeline: string
  readonly sink: string
  readonly kind: string
  readonly outcome: 'taken' | 'refused' | 'left out'
  readonly reason: string | null
}

async function runTest(
  files: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  if (files.length === 0) {
    shell.err('millrace alerts test: no pipeline is named, as in: millrace alerts test pipeline.ts\n')
    return EXIT_USAGE
  }
  const config = await loadConfig(args, shell)
  const registry = await shell.registry()
  const plans = await loadPipelines(files, shell.cwd, registry, config)
  const sinks = chosenSinks(plans, args)
  const tried: Tried[] = []
  for (const { plan, sink } of sinks) tried.push(await trySink(plan, sink, registry, shell))
  const paint = colours(wantsColour(shell.outIsTerminal === true, shell.env))
  if (args.json === true) shell.out(`${JSON.stringify({ sinks: tried }, null, 2)}\n`)
  else for (const one of tried) shell.err(`${triedText(one, paint)}\n`)
  return tried.every(({ outcome }) => outcome === 'taken') ? EXIT_OK : EXIT_FAILED
}

function chosenSinks(
  plans: readonly PipelinePlan[],
  args: Readonly<Record<string, unknown>>,
): { plan: PipelinePlan; sink: SinkPlan }[] {
  const fail = (place: string, value: unknown, problem: string, remedy: string): never => {
    throw MillraceError.ofFaults('INPUT_INVALID', 'nothing was sent', [{ place, value, problem, remedy }])
  }
  const names = plans.map(({ name }) => name)
  const { pipeline: named, sink: wanted } = args
  if (typeof named === 'string' && !names.includes(named)) {
    fail('--pipeline', named, 'is in none of these files', knownRemedy(named, names))
  }
  const chosen = plans.filter(({ name }) => named === undefined || name === named)
  const all = chosen.flatMap((plan) =>
    plan.sinks.filter(({ feed }) => feed === 'alerts').map((sink) => ({ plan, sink })),
  )
  if (all.length === 0) {
    const remedy = "Add one, such as .to(webhook({ url: 'http://127.0.0.1:9999/alerts' }))."
    fail(
      'pipelines',
      chosen.map(({ name }) => name),
      'have no sink for alerts',
      remedy,
    )
  }
  const found = all.filter(({ sink }) => wanted === undefined || sink.name === wanted)
  if (found.length === 0) {
    const known = all.map(({ sink }) => sink.name)
    fail('--sink', wanted, 'is no sink for alerts here', knownRemedy(String(wanted), known))
  }
  return found
}

async function trySink(plan: PipelinePlan, sink: SinkPlan, registry: Registry, shell: Shell): Promise<Tried> {
  const { name, kind } = sink
  const about = { pipeline: plan.name, sink: name, kind }
  const plugin = registry.sinks.get(kind) as SinkPlugin | undefined
  if (plugin === undefined || plugin.guarantee === 'transactional') {
    const reason = 'it takes only what is committed, so that nothing in it is ever twice or missing'
    return { ...about, outcome: 'left out', reason }
  }
  let refusal: MillraceError | null = null
  const context: SinkContext = {
    pipeline: plan.name,
    sink: name,
    warn: (error) => shell.err(`millrace: ${error.message}\n`),
    deadLetter: (_records, error) => {
      refusal = error
    },
    signal: stopSignal(shell),
  }
  let opened: Sink | null = null
  try {
    opened = await plugin.open(sink.options, context)
    const record = testRecord(plan, shell.clock.nowMs())
    if (opened.guarantee === 'at-least-once') await opened.send([record])
    else if (opened.guarantee === 'idempotent') await opened.upsert([record])
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
    refusal = error
  } finally {
    await opened?.close()
  }
  const problem = refusal as MillraceError | null
  return { ...about, outcome: problem === null ? 'taken' : 'refused', reason: problem?.message ?? null }
}

function stopSignal(shell: Shell): AbortSignal {
  const stopping = new AbortController()
  void shell.stopped.then(() => stopping.abort())
  return stopping.signal
}

function testRecord(plan: PipelinePlan, nowMs: number) {
  const detector = plan.detectors[0]
  const id = `${plan.name}/test/${nowMs}`
  const body = {
    kind: 'alert' as const,
    id,
    test: true,
    pipeline: plan.name,
    detector: detector?.name ?? 'test',
    column: detector?.column ?? null,
    group: { test: 'true', host: hostname() },
    state: 'firing' as const,
    sinceMs: nowMs,
    atMs: nowMs,
    value: null,
    score: null,
    expected: null,
    lower: null,
    upper: null,
    direction: 'up' as const,
    severity: 'info' as const,
    reason: 'a test by `millrace alerts test`: nothing is wrong, and nothing will resolve it',
  }
  return { id, partition: 0, seq: 0, row: 0, body }
}

function triedText({ pipeline, sink, kind, outcome, reason }: Tried, paint: Colours): string {
  const colour = outcome === 'taken' ? paint.green : outcome === 'refused' ? paint.red : paint.yellow
  const named = sink === kind ? sink : `${sink} (${kind})`
  return `${colour(outcome.padEnd(8))}  ${pipeline}: ${named}${reason === null ? '' : `: ${reason}`}`
}
