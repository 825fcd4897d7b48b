/**
 * How far a run over files is: on a terminal one line that is written over, elsewhere a plain line now and then. Only
 * looks; never slows the run. The text is a pure function of what was counted.
 */
import type { FeedProgress } from './feed-files.ts'
import type { Shell } from './shell.ts'

const TERMINAL_MS = 200
const PLAIN_MS = 5_000

export interface Progress {
  /** Removes the line; may be called twice. */
  stop(): void
}

export function showProgress(
  shell: Pick<Shell, 'err' | 'errIsTerminal' | 'clock'>,
  state: FeedProgress,
): Progress {
  const startMs = shell.clock.monotonicMs()
  return showLine(shell, () => progressText(state, shell.clock.monotonicMs() - startMs))
}

/** Any line of that kind; an empty one is not shown. */
export function showLine(shell: Pick<Shell, 'err' | 'errIsTerminal'>, line: () => string): Progress {
  let shown = 0
  const show = (): void => {
    const text = line()
    if (text === '') return
    if (!shell.errIsTerminal) {
      shell.err(`${text}\n`)
      return
    }
    shell.err(`\r${text.padEnd(shown)}`)
    shown = text.length
  }
  const timer = setInterval(show, shell.errIsTerminal ? TERMINAL_MS : PLAIN_MS)
  timer.unref()
  return {
    stop() {
      clearInterval(timer)
      if (shown > 0) shell.err(`\r${' '.repeat(shown)}\r`)
      shown = 0
    },
  }
}

/** `43% · 2,100,000 samples · 2.1 M samples/s · 12 s left`; without a known end, the bytes read instead. */
export function progressText(state: Readonly<FeedProgress>, elapsedMs: number): string {
  const { bytesRead, bytesTotal, samples } = state
  const rate = elapsedMs > 0 ? samples / (elapsedMs / 1_000) : 0
  const parts: string[] = []
  const known = bytesTotal > 0
  const share = known ? Math.min(1, bytesRead / bytesTotal) : 0
  parts.push(known ? `${Math.floor(share * 100)}%` : bytesText(bytesRead))
  parts.push(`${countText(samples)} samples`, `${rateText(rate)} samples/s`)
  if (known && share > 0 && share < 1) {
    parts.push(`${secondsText(((elapsedMs / share) * (1 - share)) / 1_000)} left`)
  }
  return parts.join(' · ')
}

/** `1,234,567`, the same in every locale. */
export function countText(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}

export function rateText(perSecond: number): string {
  if (perSecond >= 1e6) return `${(perSecond / 1e6).toFixed(1)} M`
  if (perSecond >= 1e4) return `${(perSecond / 1e3).toFixed(0)} k`
  return perSecond.toFixed(0)
}

export function bytesText(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`
}

export function secondsText(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}
