/** Where the package lies: what ships beside the code (examples) is found from here, from sources and from dist alike. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export function packageRoot(): string {
  let at = dirname(fileURLToPath(import.meta.url))
  for (;;) {
    const manifest = join(at, 'package.json')
    if (
      existsSync(manifest) &&
      (JSON.parse(readFileSync(manifest, 'utf8')) as { name?: string }).name === 'millrace'
    ) {
      return at
    }
    const up = dirname(at)
    if (up === at)
      throw new Error('package.json of millrace is not above its code: the installation is damaged')
    at = up
  }
}
