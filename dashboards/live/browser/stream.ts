/**
 * The connection to /api/v1/live. The browser resumes it by itself after a break; where the node refuses (too many pages,
 * stopping), its reason is fetched and it is tried again. A page that nobody looks at lets go of it after a while.
 */
import type { LiveEvents } from '../../../engine/contract/live.ts'

const PATH = '/api/v1/live'
const RETRY_MS = 3_000
/** A tab in the background costs the node nothing after this. */
const HIDDEN_MS_MAX = 30_000

export type Connection = 'connecting' | 'live' | 'lost' | 'refused'

export interface StreamHandlers {
  readonly onState: (state: Connection, reason: string) => void
  readonly on: { readonly [K in keyof LiveEvents]: (data: LiveEvents[K]) => void }
}

export function openStream({ onState, on }: StreamHandlers): void {
  let source: EventSource | null = null
  let hiding: number | undefined

  function connect(): void {
    if (source !== null) return
    const opened = new EventSource(PATH)
    source = opened
    for (const name of Object.keys(on) as (keyof LiveEvents)[]) listen(opened, name)
    opened.addEventListener('open', () => onState('live', ''))
    opened.addEventListener('error', () => {
      if (opened.readyState === EventSource.CONNECTING) onState('lost', 'no answer; trying again')
      else void refused(opened)
    })
  }

  function listen<K extends keyof LiveEvents>(opened: EventSource, name: K): void {
    opened.addEventListener(name, (event: MessageEvent<string>) => {
      on[name](JSON.parse(event.data) as LiveEvents[K])
    })
  }

  /** The browser has given up: an answer that is no stream. */
  async function refused(opened: EventSource): Promise<void> {
    if (source !== opened) return
    source = null
    onState('refused', await reasonOf())
    setTimeout(connect, RETRY_MS)
  }

  document.addEventListener('visibilitychange', () => {
    clearTimeout(hiding)
    if (!document.hidden) connect()
    else {
      hiding = setTimeout(() => {
        source?.close()
        source = null
      }, HIDDEN_MS_MAX)
    }
  })
  onState('connecting', '')
  connect()
}

async function reasonOf(): Promise<string> {
  const abort = new AbortController()
  try {
    const answer = await fetch(PATH, { signal: abort.signal })
    if (answer.ok) return ''
    const { error } = (await answer.json()) as { readonly error: string }
    return error
  } catch {
    return 'no answer'
  } finally {
    abort.abort()
  }
}
