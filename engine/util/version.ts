/** The package's version, from the one place that states it: found beside the sources, or above the build. */
import { existsSync, readFileSync } from 'node:fs'

const candidates = [
  new URL('../../package.json', import.meta.url),
  new URL('../../../package.json', import.meta.url),
]

export const VERSION: string = readVersion()

function readVersion(): string {
  for (const candidate of candidates) {
    if (!existsSync(candidate)) continue
    const manifest = JSON.parse(readFileSync(candidate, 'utf8')) as { name?: string; version?: string }
    if (manifest.name === 'millrace' && manifest.version !== undefined) return manifest.version
  }
  return '0.0.0'
}
