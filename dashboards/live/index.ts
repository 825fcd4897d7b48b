/**
 * The live page: markup, style and icon held as text, the modules of browser/ as they were built, and uPlot as it was
 * installed. All are read once, at the start. They load nothing from elsewhere and run under a policy without inline code.
 * The HTTP server is given them by the composition root.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PAGE_ICON } from './icon.ts'
import { PAGE_HTML } from './page.ts'
import { PAGE_STYLE } from './style.ts'

const CSS_TYPE = 'text/css; charset=utf-8'
const SCRIPT_TYPE = 'text/javascript; charset=utf-8'

export interface PageFile {
  readonly path: string
  readonly contentType: string
  readonly body: string
}

export function livePage(): readonly PageFile[] {
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot/package.json'))
  const installed = (name: string): string => readFileSync(join(uplot, 'dist', name), 'utf8')
  return [
    { path: '/', contentType: 'text/html; charset=utf-8', body: PAGE_HTML },
    { path: '/live.css', contentType: CSS_TYPE, body: PAGE_STYLE },
    { path: '/live.svg', contentType: 'image/svg+xml', body: PAGE_ICON },
    { path: '/live/uplot.css', contentType: CSS_TYPE, body: installed('uPlot.min.css') },
    { path: '/live/uplot.js', contentType: SCRIPT_TYPE, body: installed('uPlot.esm.js') },
    ...modules(builtFolder()),
  ]
}

/** Browsers know no package names; the map files stay behind, since nobody else than its author reads this. */
function modules(folder: string): PageFile[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.js'))
    .map((name) => ({
      path: `/live/${name}`,
      contentType: SCRIPT_TYPE,
      body: readFileSync(join(folder, name), 'utf8')
        .replace(/from ['"]uplot['"]/g, "from './uplot.js'")
        .replace(/^\/\/# sourceMappingURL=.*$/m, ''),
    }))
}

/** Beside this file in the build; from sources (tests), in the build of the same sources. */
function builtFolder(): string {
  const here = dirname(fileURLToPath(import.meta.url))
  const built = here.includes(`${sep}dist${sep}`) ? here : join(here, '../../dist/dashboards/live')
  return join(built, 'browser')
}
