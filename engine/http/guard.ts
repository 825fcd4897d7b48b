/**
 * Keeps web pages out of a server that trusts the loopback. A page whose name resolves to 127.0.0.1 (DNS rebinding) is
 * told by its Host header: a name that is not ours. A page that posts to us across origins is told by its Origin header,
 * which agents do not send. IP addresses are never refused as hosts: rebinding needs a name.
 */
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { type ErrorAnswer, errorAnswer } from './exchange.ts'

export class HostGuard {
  readonly #names: Set<string>

  constructor(names: readonly string[]) {
    this.#names = new Set(['localhost', ...names.map((name) => name.toLowerCase())])
  }

  /** The name that the server was told to listen on. */
  allow(name: string): void {
    this.#names.add(name.toLowerCase())
  }

  /** For what can be read: null, or why not. */
  refuseHost(host: string | undefined): ErrorAnswer | null {
    if (host !== undefined && this.#isOurs(hostName(host))) return null
    return errorAnswer(
      403,
      'HOST_REFUSED',
      `the Host header ${JSON.stringify(host ?? '')} is not a name of this server (a page elsewhere may be behind it). Use http://localhost or the IP address.`,
    )
  }

  /** For what changes anything: null, or why not. No Origin: not a browser, or the same origin. */
  refuseOrigin(origin: string | undefined): ErrorAnswer | null {
    if (origin === undefined || this.#isOurs(originName(origin))) return null
    return errorAnswer(
      403,
      'HOST_REFUSED',
      `a page of ${JSON.stringify(origin)} may not write here. Send samples from an agent, not from a web page.`,
    )
  }

  #isOurs(name: string): boolean {
    return isIP(name) !== 0 || this.#names.has(name) || name.endsWith('.localhost')
  }
}

/**
 * For what only our own page may do: null, or why not. Stricter than the host guard: a page of another port, or of an IP
 * address, is another page. Browsers say where a request comes from; what says nothing is not a browser.
 */
export function refuseOtherSites({ headers }: IncomingMessage): ErrorAnswer | null {
  const { origin, host, 'sec-fetch-site': site } = headers
  const sameOrigin =
    origin === undefined || (host !== undefined && origin.replace(/^https?:\/\//i, '') === host)
  if (sameOrigin && (site === undefined || site === 'same-origin' || site === 'none')) return null
  return errorAnswer(
    403,
    'HOST_REFUSED',
    `only this server's own page may ask this, not one of ${origin ?? site}.`,
  )
}

/** `example.com:80` → `example.com`, `[::1]:80` → `::1`. */
function hostName(host: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d*)?$/.exec(host)
  return (bracketed?.[1] ?? host.replace(/:\d*$/, '')).toLowerCase()
}

function originName(origin: string): string {
  const match = /^[a-z][a-z0-9+.-]*:\/\/([^/]*)$/i.exec(origin)
  return match === null ? '' : hostName(match[1]!)
}
