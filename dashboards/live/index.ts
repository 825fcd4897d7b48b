/**
 * The status page: four static files, held as text so that the build needs no copying. They load nothing from
 * elsewhere and run under a policy without inline code. The HTTP server is given them by the composition root.
 */
import { PAGE_ICON } from './icon.ts'
import { PAGE_HTML } from './page.ts'
import { PAGE_SCRIPT } from './script.ts'
import { PAGE_STYLE } from './style.ts'

export const livePage = [
  { path: '/', contentType: 'text/html; charset=utf-8', body: PAGE_HTML },
  { path: '/live.css', contentType: 'text/css; charset=utf-8', body: PAGE_STYLE },
  { path: '/live.js', contentType: 'text/javascript; charset=utf-8', body: PAGE_SCRIPT },
  { path: '/live.svg', contentType: 'image/svg+xml', body: PAGE_ICON },
] as const
