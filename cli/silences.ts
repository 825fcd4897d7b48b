/**
 * `millrace alerts silence`: sinks are told nothing of some alerts for a while. `millrace alerts silences` lists them,
 * `millrace alerts unsilence ID` ends one before its time. The node makes and ends them, since it decides with each
 * transition what is told; a list is read from the store as well.
 */
import type { ArgsDef } from 'citty'
import { knownRemedy } from '../engine/config/did-you-mean.ts'
import { durationText } from '../engine/config/units.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import { SILENCE_STATES, type SilenceMade, type SilenceRow } from '../engine/contract/silences.ts'
import { askNodeOnly, askNodeOrStore, tellNode } from './ask.ts'
import { type Colours, colours, wantsColour } from './colour.ts'
import { EXIT_OK, EXIT_USAGE, type Shell } from './shell.ts'
import { timeText } from './time-text.ts'

type Args = Readonly<Record<string, unknown>>

const PATH = '/api/v1/silences'

export const silenceFlags: ArgsDef = {
  match: {
    type: 'string',
    valueHint: 'label=value',
    description:
      'silence: alerts whose label is so, also != =~ !~ (a pattern of the whole value); as often as there are conditions',
  },
  severity: {
    type: 'string',
    valueHint: 'info|warning|critical',
    description: 'silence: alerts of this severity only',
  },
  for: { type: 'string', valueHint: 'duration', description: 'silence: how long, such as 2h' },
  until: {
    type: 'string',
    valueHint: 'time',
    description: 'silence: in place of --for; 18:00 is the next time that it is so on this machine',
  },
  from: { type: 'string', valueHint: 'time', description: 'silence: it begins then (default: now)' },
  comment: { type: 'string', valueHint: 'text', description: 'silence: who wants it, and why' },
}

/** `raw`: the words as they were typed, since a flag may come more than once. */
export async function runSilence(
  words: readonly string[],
  args: Args,
  raw: readonly string[],
  shell: Shell,
): Promise<number> {
  const nowMs = shell.clock.nowMs()
  const time = (value: unknown): unknown => (typeof value === 'string' ? clockTimeMs(value, nowMs) : value)
  const { pipeline, detector, severity, comment } = args
  const written = {
    match: [...words, ...valuesOf('--match', raw)],
    pipeline,
    detector,
    severity,
    from: time(args.from),
    until: time(args.until),
    for: args.for,
    comment,
  }
  const { url } = await askNodeOnly(args, shell)
  const made = (await tellNode(url!, PATH, 'POST', written)) as SilenceMade
  if (args.json === true) {
    shell.out(`${JSON.stringify(made, null, 2)}\n`)
    return EXIT_OK
  }
  for (const warning of made.warnings) shell.err(`millrace: ${warning}\n`)
  const paint = colours(wantsColour(shell.outIsTerminal === true, shell.env))
  shell.out(`${silenceText(made.silence, nowMs, paint)}\n`)
  if (made.silence.state === 'active') {
    const { alerts } = made
    shell.err(
      alerts === 0
        ? 'it holds for no alert that stands now\n'
        : `it holds for ${alerts} of the alerts that stand now\n`,
    )
  }
  return EXIT_OK
}

export async function runSilences(args: Args, shell: Shell): Promise<number> {
  const state = SILENCE_STATES.find((one) => one === args.state)
  if (args.state !== undefined && state === undefined) {
    throw MillraceError.ofFaults('INPUT_INVALID', 'what to list is not clear', [
      {
        place: '--state',
        value: args.state,
        problem: 'is not one of the choices',
        remedy: knownRemedy(String(args.state), SILENCE_STATES),
      },
    ])
  }
  const answers = await askNodeOrStore(args, shell)
  try {
    const rows = await answers.silences(state === undefined ? {} : { state })
    const paint = colours(wantsColour(shell.outIsTerminal === true, shell.env))
    const nowMs = shell.clock.nowMs()
    if (args.json === true) shell.out(`${JSON.stringify({ rows }, null, 2)}\n`)
    else if (rows.length === 0) shell.err('no silences\n')
    else shell.out(rows.map((row) => `${silenceText(row, nowMs, paint)}\n`).join(''))
    return EXIT_OK
  } finally {
    await answers.close()
  }
}

export async function runUnsilence(words: readonly string[], args: Args, shell: Shell): Promise<number> {
  const [id = ''] = words
  if (words.length !== 1 || !/^[1-9]\d{0,9}$/.test(id)) {
    shell.err(
      'millrace alerts unsilence: one number of a silence is wanted, as in: millrace alerts unsilence 3. ' +
        'millrace alerts silences lists them.\n',
    )
    return EXIT_USAGE
  }
  const { url } = await askNodeOnly(args, shell)
  const row = (await tellNode(url!, `${PATH}?id=${id}`, 'DELETE')) as SilenceRow
  const paint = colours(wantsColour(shell.outIsTerminal === true, shell.env))
  if (args.json === true) shell.out(`${JSON.stringify(row, null, 2)}\n`)
  else shell.out(`${silenceText(row, shell.clock.nowMs(), paint)}\n`)
  return EXIT_OK
}

/** `active   3  until 2026-01-31 14:00:00Z (2h)  rack="r7"  new switch` */
export function silenceText(row: SilenceRow, nowMs: number, paint: Colours): string {
  const { id, state, comment } = row
  const colour = state === 'active' ? paint.yellow : state === 'pending' ? paint.bold : paint.dim
  return `${colour(state.padEnd(7))}  ${String(id).padStart(3)}  ${whenText(row, nowMs)}  ${whomText(row)}  ${paint.dim(comment)}`
}

function whenText({ state, fromMs, untilMs, endedMs }: SilenceRow, nowMs: number): string {
  if (state === 'expired') return `ended ${timeText(endedMs ?? untilMs)}`
  if (state === 'pending') return `from ${timeText(fromMs)} until ${timeText(untilMs)}`
  const leftMs = Math.max(1_000, Math.round((untilMs - nowMs) / 1_000) * 1_000)
  return `until ${timeText(untilMs)} (${durationText(leftMs)})`
}

/** All that it holds for. */
export function whomText({ match, pipeline, detector, severity }: SilenceRow): string {
  const named = { pipeline, detector, severity }
  const parts = Object.entries(named).flatMap(([what, name]) => (name === null ? [] : [`${what} ${name}`]))
  return [...match, ...parts].join(', ')
}

/** `18:00`: the next time that it is so by this machine's clock, in ms. Anything else is left to the node. */
function clockTimeMs(text: string, nowMs: number): string | number {
  const parts = /^([01]?\d|2[0-3]):([0-5]\d)$/.exec(text)
  if (parts === null) return text
  const time = new Date(nowMs)
  time.setHours(Number(parts[1]), Number(parts[2]), 0, 0)
  if (time.getTime() <= nowMs) time.setDate(time.getDate() + 1)
  return time.getTime()
}

function valuesOf(flag: string, raw: readonly string[]): string[] {
  const values: string[] = []
  for (let i = 0; i < raw.length && raw[i] !== '--'; i++) {
    const word = raw[i]!
    if (word === flag) values.push(raw[++i]!)
    else if (word.startsWith(`${flag}=`)) values.push(word.slice(flag.length + 1))
  }
  return values
}
