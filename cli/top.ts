/**
 * `millrace top`: a running node in the terminal: pipelines with their rates and lag, and alerts, once a second. Asks the
 * node over HTTP, as anybody may. q, Escape or Ctrl-C leave; the terminal is given back as it was, whatever ends it.
 */
import { defineCommand } from 'citty'
import type { Alert } from '../engine/contract/alert.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import type { NodeStatus, PipelineStatus } from '../engine/contract/queries.ts'
import { seriesText } from '../engine/series/series-key.ts'
import { alertColour } from './alerts.ts'
import { type Answers, askFlags, askNodeOnly, reachNode } from './ask.ts'
import { type Colours, colours, wantsColour } from './colour.ts'
import { bytesText, countText, rateText, secondsText } from './progress.ts'
import { type Command, EXIT_OK, EXIT_USAGE, type Shell, shellOf, type Terminal } from './shell.ts'
import { behindText, healthText, lagOf, problemsOf, stateColour } from './status.ts'
import { tableLines } from './table.ts'

const EVERY_MS = 1_000
const ENTER_SCREEN = '\x1b[?1049h\x1b[?25l'
const LEAVE_SCREEN = '\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'
const QUIT_KEYS = new Set(['q', 'Q', '\x1b', '\x03', '\x04'])

export const top: Command = {
  definition: defineCommand({
    meta: { name: 'top', description: 'A running node in the terminal: pipelines, rates, lag, alerts' },
    args: { ...askFlags },
    run: ({ args, data }) => runTop(args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace top                                 the node on 127.0.0.1:8428; q leaves
  millrace top --url http://10.0.0.7:8428
`,
}

/** What one look found. */
export interface Look {
  readonly url: string
  readonly status: NodeStatus
  readonly pipelines: readonly PipelineStatus[]
  readonly alerts: readonly Alert[]
  readonly atMs: number
}

async function runTop(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const terminal = shell.terminal?.() ?? null
  if (terminal === null) {
    shell.err('millrace top: this is no terminal. millrace status says the same once, also with --json\n')
    return EXIT_USAGE
  }
  const answers = await askNodeOnly(args, shell)
  const paint = colours(wantsColour(true, shell.env))
  let wake = (): void => {}
  let isOver = false
  const leave = (): void => {
    isOver = true
    wake()
  }
  void shell.stopped.then(leave)
  let frame: readonly string[] = []
  const draw = (): void => shell.out(frameText(frame, terminal))
  const release = terminal.take({
    onKey: (key) => {
      if (QUIT_KEYS.has(key)) leave()
    },
    onResize: draw,
  })
  shell.out(ENTER_SCREEN)
  try {
    let before: Look | null = null
    let problem: string | null = null
    while (!isOver) {
      try {
        const now: Look = await look(answers, shell)
        frame = topLines(now, before, paint)
        before = now
        problem = null
      } catch (error) {
        if (!(error instanceof MillraceError)) throw error
        problem = error.message
      }
      if (problem !== null)
        frame = [paint.red(`! ${problem}`), ...frame.filter((line) => !line.includes('! '))]
      if (isOver) break
      draw()
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, EVERY_MS)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
        if (isOver) wake()
      })
    }
    return EXIT_OK
  } finally {
    shell.out(LEAVE_SCREEN)
    release()
    await answers.close()
  }
}

async function look(answers: Answers, shell: Shell): Promise<Look> {
  const url = answers.url!
  const status = await reachNode(url)
  if (status === null)
    throw new MillraceError('UNAVAILABLE', `the node at ${url} does not answer; asking again`)
  const [pipelines, alerts] = await Promise.all([answers.pipelines(), answers.alerts({})])
  return { url, status, pipelines, alerts, atMs: shell.clock.monotonicMs() }
}

/** Lines of the screen, however long. Pure. */
export function topLines(now: Look, before: Look | null, paint: Colours): string[] {
  const { url, status, pipelines, alerts } = now
  const seconds = before === null ? 0 : (now.atMs - before.atMs) / 1_000
  const rates = new Map<string, number>()
  for (const { name, ledger } of pipelines) {
    const old = before?.pipelines.find((pipeline) => pipeline.name === name)
    if (old !== undefined && seconds > 0) rates.set(name, Math.max(0, ledger.in - old.ledger.in) / seconds)
  }
  const rateOf = (name: string): string => {
    const rate = rates.get(name)
    return rate === undefined ? '-' : rateText(rate)
  }
  const free = status.disk.freeBytes === null ? '' : `, ${bytesText(status.disk.freeBytes)} free`
  const firing = alerts.filter(({ state }) => state === 'firing').length
  const lines = [
    `${paint.bold('millrace')} ${status.version}  ${url}  up ${secondsText(status.uptimeSeconds)}  ${paint.dim('q leaves')}`,
    `log ${bytesText(status.logBytes)}, state ${bytesText(status.stateBytes)}${free}; ${status.threads.length} threads`,
    '',
    ...tableLines(
      pipelines,
      [
        { head: 'pipeline', text: ({ name }) => name },
        {
          head: 'state',
          text: ({ state }) => state,
          paint: (text, { state }) => stateColour(paint, state)(text),
        },
        { head: 'samples/s', align: 'right', text: ({ name }) => rateOf(name) },
        { head: 'samples', align: 'right', text: ({ ledger }) => countText(ledger.in) },
        { head: 'late', align: 'right', text: ({ ledger }) => countText(ledger.late) },
        { head: 'lag', align: 'right', text: (pipeline) => countText(lagOf(pipeline)) },
        { head: 'behind', align: 'right', text: (pipeline) => behindText(pipeline, status.nowMs) },
        {
          head: 'alerts',
          align: 'right',
          text: ({ alertsFiring }) => countText(alertsFiring),
          paint: (text, { alertsFiring }) => (alertsFiring > 0 ? paint.red(text) : text),
        },
        { head: 'detectors', text: healthText },
      ],
      paint.dim,
    ),
    '',
    alerts.length === 0
      ? paint.dim('no alerts')
      : paint.bold(`${firing} firing, ${alerts.length - firing} pending`),
    ...alerts.map((alert) => {
      const age = secondsText(Math.max(0, status.nowMs - alert.sinceMs) / 1_000)
      const state = alertColour(paint, alert.state)(alert.state.padEnd(7))
      return `${state}  ${age.padStart(12)}  ${alert.pipeline}/${alert.detector} ${seriesText(alert.group)}: ${alert.reason}`
    }),
  ]
  const problems = problemsOf(status, pipelines)
  if (problems.length > 0) lines.splice(2, 0, ...problems.map((problem) => paint.red(`! ${problem}`)))
  return lines
}

/** The lines as they fit: cut to the screen's width and height, colours not counted. */
export function frameText(
  lines: readonly string[],
  { columns, rows }: Pick<Terminal, 'columns' | 'rows'>,
): string {
  const shown = lines.slice(0, Math.max(1, rows - 1)).map((line) => cut(line, columns) + CLEAR_LINE)
  return `${HOME}${shown.join('\r\n')}${CLEAR_BELOW}`
}

function cut(line: string, columns: number): string {
  let width = 0
  let text = ''
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are escape sequences.
  for (const [part] of line.matchAll(/\x1b\[[0-9;]*m|[\s\S]/gu)) {
    if (part.length > 1 && part.startsWith('\x1b')) text += part
    // Labels may hold anything; a terminal must not act on it.
    else if (width < columns) {
      text += part < ' ' || part === '\x7f' ? ' ' : part
      width++
    }
  }
  return text
}
