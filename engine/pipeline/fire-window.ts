/** One window that is over: its rows judged, its results and alerts written. The same for chains and owners of groups. */
import type { EntryWriter } from './entry-writer.ts'
import type { Judges } from './judges.ts'
import type { Router } from './routing.ts'
import type { WindowFiring } from './window-firing.ts'

/** Time spent in the parts of firing windows, added up; called a few times a window, never once a sample. */
export interface WindowMeter {
  /** Monotonic. */
  nowMs(): number
  windowMs: number
  detectMs: number
  emitMs: number
}

export interface WindowParts {
  readonly firing: WindowFiring
  readonly router: Router
  readonly judges: Judges
  readonly writer: EntryWriter
  /** Told how long windows take; it never changes what comes out. */
  readonly meter: WindowMeter | null
}

export function fireWindow(parts: WindowParts, startMs: number, endMs: number, cause: number): void {
  const { firing, router, judges, writer, meter } = parts
  const nowMs = (): number => (meter === null ? 0 : meter.nowMs())
  const beganMs = nowMs()
  let detectMs = 0
  let emitMs = 0
  if (judges.comparesPeers) {
    // Whoever is held against others waits until all of them are seen: a table holds a part of the window only.
    firing.begin(startMs, router.order())
    judges.beginPeers()
    while (firing.next(router.groupIds.data)) judges.collectPeers(firing, firing.rows)
    judges.settlePeers()
  }
  firing.begin(startMs, router.order())
  while (firing.next(router.groupIds.data)) {
    const filledMs = nowMs()
    judges.judge(firing, firing.rows, endMs)
    const judgedMs = nowMs()
    writer.results(firing, startMs, endMs, cause)
    detectMs += judgedMs - filledMs
    emitMs += nowMs() - judgedMs
  }
  const flushingMs = nowMs()
  judges.flush(cause)
  if (meter === null) return
  meter.windowMs += flushingMs - beganMs - detectMs - emitMs
  meter.detectMs += detectMs
  meter.emitMs += emitMs + nowMs() - flushingMs
}
