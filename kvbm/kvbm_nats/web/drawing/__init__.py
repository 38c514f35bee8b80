"""Pictures as SVG elements of a page. Colours are classes of the style sheet, so that a page is dark where its reader wants it."""

from kvbm_nats.web.drawing.curves import draw_curves
from kvbm_nats.web.drawing.heat import draw_heat
from kvbm_nats.web.drawing.hits import draw_hits
from kvbm_nats.web.drawing.life import draw_life
from kvbm_nats.web.drawing.shares import draw_shares
from kvbm_nats.web.drawing.svg import TIER_CLASSES

__all__ = ["TIER_CLASSES", "draw_curves", "draw_heat", "draw_hits", "draw_life", "draw_shares"]
